"""The embedded model for tests; they skip, with the reason, where it is not packaged."""

from __future__ import annotations

import unittest

from harness.api import HarnessError, Model
from harness.books.store import WeightStore
from harness.models.hf import HfModel
from harness.registry.build import build
from harness.registry.discover import Plugins


def lab_model(weights: WeightStore) -> HfModel:
    """``--model lab``, whose states' weights are in that store: that of the session it is used in.

    Raises:
        unittest.SkipTest: this installation has no lab model; pytest shows it as skipped.
    """
    try:
        model = build(Plugins(), Model, {"use": "lab"}, "model", weights=weights).instance
    except HarnessError as error:
        raise unittest.SkipTest(f"the lab model is not in this installation: {error}") from error
    assert isinstance(model, HfModel)
    return model
