"""`--model lab`: the packaged `lab-1`, run by the backend `hf`."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
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


_WORD = re.compile(r"[A-Za-z]{4,}")
_LETTERS = 3
_FEW_WORDS, _WORDS_READ = 20, 2000
_FOREIGN = 0.25
"""Share of spelt-out words: 0 in `lab-facts`, three in four in English prose."""


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

    def cannot_read(self, texts: Sequence[str], /) -> str:
        """Words of other worlds than its own it can only spell out, letter by letter, and has never learnt to."""
        words = [word for text in texts for word in _WORD.findall(text)][:_WORDS_READ]
        spelled = sum(self._spells(word) for word in words)
        if len(words) < _FEW_WORDS or spelled < _FOREIGN * len(words):
            return ""
        return (
            f"{MODEL_VERSION} knows the words of its own made-up world alone (docs/lab.md) and spells out "
            f"{100 * spelled / len(words):.0f}% of those in this task: its scores say nothing; take another --model"
        )

    def _spells(self, word: str) -> bool:
        """Whether a word falls into three letters or more."""
        return sum(len(piece.strip("▁")) == 1 for piece in self.prompts.tokenizer.tokenize(word)) >= _LETTERS
