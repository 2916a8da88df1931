"""`--model lab`: the packaged `lab-1`, run by the backend `hf`."""

import dataclasses
from importlib import resources
from pathlib import Path

from harness.models.base import WeightSource
from harness.models.hf import HfModel, HfSettings

MODEL_VERSION = "lab-1"


def folder() -> Path:
    """The packaged model's folder, in Hugging Face's format."""
    return Path(str(resources.files(__package__).joinpath("model")))


class LabModel(HfModel):
    """The embedded model. All settings of `hf` apply but the path, which is the package's own."""

    def __init__(self, settings: HfSettings, weights: WeightSource) -> None:
        super().__init__(dataclasses.replace(settings, path=str(folder()), revision=None), weights)
