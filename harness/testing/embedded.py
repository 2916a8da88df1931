"""The embedded model for tests, which are skipped with a reason where it is not packaged."""

from __future__ import annotations

import unittest

from harness.api import HarnessError, Model
from harness.books.store import WeightStore
from harness.models.hf import HfModel
from harness.registry.build import build, component_class
from harness.registry.discover import Plugins


def embedded_task(plugins: Plugins) -> str:
    """The name of the task that comes with the default model.

    Raises:
        HarnessError: no installed plugin provides a default model, or it names no task.
    """
    profile = component_class(plugins, "model", plugins.default("model")).cls.profile
    task = profile.get("task", {})
    return str(task["use"] if isinstance(task, dict) else task)


def lab_model(weights: WeightStore) -> HfModel:
    """The default model (``--model lab``).

    Args:
        weights: the store of its states' weights; use that of the session.

    Raises:
        unittest.SkipTest: this installation has no lab model; pytest shows the test as skipped.
    """
    plugins = Plugins()
    try:
        model = build(plugins, Model, {"use": plugins.default("model")}, "model", weights=weights).instance
    except HarnessError as error:
        raise unittest.SkipTest(f"the lab model is not in this installation: {error}") from error
    assert isinstance(model, HfModel)
    return model
