"""A benchmark harness for self-adapting language models.

``harness.run(config)`` runs a method, ``harness.results(...)`` reads results into pandas, ``harness.hookimpl`` marks a
plugin's hooks, and ``harness.api`` is the contract.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.markers import hookimpl

if TYPE_CHECKING:
    from harness.evidence.frame import results
    from harness.runs.runner import Run, resume, run

__all__ = ["Run", "hookimpl", "results", "resume", "run"]
__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    if name in {"Run", "resume", "run"}:
        from harness.runs import runner

        return getattr(runner, name)
    if name == "results":
        from harness.evidence import frame

        return frame.results
    raise AttributeError(f"module 'harness' has no attribute {name!r}")
