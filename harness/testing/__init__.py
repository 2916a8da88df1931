"""For plugin authors: contract tests to subclass, a language model that answers from a table, a real session.

==================== ================================================================================================
what                 for
==================== ================================================================================================
``EditorContract``   and those for rewards, updaters, evaluators, trainers, protocols, tasks and models: subclass one in
                     a test module, name the component, and pytest runs the tests that catch real bugs
``ScriptedLM``       a model that answers from a table or a function, in milliseconds
``ScriptedTask``     a task made from plain values
``open_session``     a real session in a folder, with any components
``two_items``        a whole run of a plugin on two test items
fixtures             ``lab_model``, ``lab_session``, ``scripted_session`` (:mod:`harness.testing.pytest_plugin`)
==================== ================================================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.testing.contracts import (
        EditorContract,
        EvaluatorContract,
        ModelContract,
        ProtocolContract,
        RewardContract,
        TaskContract,
        TrainerContract,
        UpdaterContract,
    )
    from harness.testing.end_to_end import two_items
    from harness.testing.scripted import ScriptedLM, ScriptedTask, open_session

__all__ = [
    "EditorContract",
    "EvaluatorContract",
    "ModelContract",
    "ProtocolContract",
    "RewardContract",
    "ScriptedLM",
    "ScriptedTask",
    "TaskContract",
    "TrainerContract",
    "UpdaterContract",
    "open_session",
    "two_items",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    home = "contracts" if name.endswith("Contract") else "end_to_end" if name == "two_items" else "scripted"
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)
