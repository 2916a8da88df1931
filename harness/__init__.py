"""A benchmark harness for self-adapting language models.

``harness.run(config)`` runs a method; ``harness.hookimpl`` marks a plugin's hooks; ``harness.api`` is the contract.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.markers import hookimpl

if TYPE_CHECKING:
    from harness.runs.runner import Run, resume, run

__all__ = ["Run", "hookimpl", "resume", "run"]
__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    if name in {"Run", "resume", "run"}:
        from harness.runs import runner

        return getattr(runner, name)
    raise AttributeError(f"module 'harness' has no attribute {name!r}")
