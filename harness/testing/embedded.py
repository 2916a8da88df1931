"""The embedded model for tests; they skip, with the reason, where it is not packaged."""

from __future__ import annotations

import unittest
from typing import Any

from harness.api import HarnessError
from harness.books.store import WeightStore
from harness.registry.build import build
from harness.registry.discover import Plugins


def embedded_task(plugins: Plugins) -> str:
    """Name of the task that comes with the default model.

    Raises:
        HarnessError: no installed plugin brings a default model, or it names no task.
    """
    profile = getattr(plugins.component("model", plugins.default("model")).cls, "profile", {})
    task = profile.get("task", {})
    return str(task["use"] if isinstance(task, dict) else task)


def lab_model(weights: WeightStore) -> Any:
    """The default model (``--model lab``), whose states' weights are in that store: that of the session it is used in.

    Raises:
        unittest.SkipTest: this installation has no lab model; pytest shows it as skipped.
    """
    plugins = Plugins()
    try:
        return build(plugins, "model", {"use": plugins.default("model")}, "model", weights=weights).instance
    except HarnessError as error:
        raise unittest.SkipTest(f"the lab model is not in this installation: {error}") from error
