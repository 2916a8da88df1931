"""`--model lab-maths`: the packaged `lab-maths-2`, run by the backend `hf`."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, ClassVar

from harness.api import WeightSource
from harness.models.hf import HfModel
from harness.models.hf_settings import HfSettings

MODEL_VERSION = "lab-maths-2"

ADAPTER: Mapping[str, Any] = {"use": "lora", "rank": 16, "alpha": 32.0, "targets": "all-linear"}

_WORD = re.compile(r"[A-Za-z]+")
_FEW_WORDS, _WORDS_READ = 20, 2000
_FOREIGN = 0.1


def folder() -> Path:
    """The packaged model's folder, in Hugging Face's format."""
    return Path(str(resources.files(__package__).joinpath("model")))


class LabMathsModel(HfModel):
    """The embedded model of reasoning. All settings of `hf` apply but the path, which is the package's own."""

    profile: ClassVar[Mapping[str, Any]] = {"task": "lab-maths", "updater": ADAPTER}
    """What a run with this model takes unless told otherwise."""

    def __init__(self, settings: HfSettings, weights: WeightSource) -> None:
        super().__init__(dataclasses.replace(settings, path=str(folder()), revision=None), weights)
        self.name = MODEL_VERSION

    def cannot_read(self, texts: Sequence[str], /) -> str:
        """It has a token for each of its words, and none for any other."""
        words = [word for text in texts for word in _WORD.findall(text)][:_WORDS_READ]
        known = self.prompts.tokenizer.get_vocab()
        strange = sum(word not in known for word in words)
        if len(words) < _FEW_WORDS or strange < _FOREIGN * len(words):
            return ""
        return (
            f"{MODEL_VERSION} knows the {len(known)} words of its own counting stories alone (docs/lab_maths.md), and "
            f"{100 * strange / len(words):.0f}% of those in this task are not among them: its scores say nothing; take "
            "another --model"
        )
