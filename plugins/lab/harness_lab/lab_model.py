"""`--model lab`: the packaged `lab-1`, run by the backend `hf`."""

import dataclasses
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar

from harness.api import WeightSource
from harness.models.hf import HfModel
from harness.models.hf_settings import HfSettings

MODEL_VERSION = "lab-1"

# Chosen on pages of other seeds than the reported ones (the model card names them). SEAL's own settings are for a model
# seven thousand times larger.
UPDATE: Mapping[str, Any] = {
    "use": "lora",
    "rank": 16,
    "alpha": 32.0,
    "targets": "all-linear",
    "learning_rate": 1e-2,
    "epochs": 15,
    "batch_size": 2,
}
POLICY: Mapping[str, Any] = {
    "use": "lora",
    "rank": 16,
    "alpha": 32.0,
    "targets": "all-linear",
    "learning_rate": 1e-2,
    "epochs": 10,
    "batch_size": 8,
}


def folder() -> Path:
    """The packaged model's folder, in Hugging Face's format."""
    return Path(str(resources.files(__package__).joinpath("model")))


class LabModel(HfModel):
    """The embedded model. All settings of `hf` apply but the path, which is the package's own."""

    profile: ClassVar[Mapping[str, Any]] = {"task": "lab-facts", "updater": UPDATE, "policy": POLICY}
    """What a run with this model takes unless told otherwise."""

    def __init__(self, settings: HfSettings, weights: WeightSource) -> None:
        super().__init__(dataclasses.replace(settings, path=str(folder()), revision=None), weights)
        self.name = MODEL_VERSION
