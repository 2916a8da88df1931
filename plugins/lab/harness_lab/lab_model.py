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

# Chosen on pages of other seeds than those of the reported figures (the model card names them). SEAL's own settings are
# for a model seven thousand times larger.
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
"""Share of spelt-out words above which texts cannot be read; it is 0 in `lab-facts` and 3/4 in English prose."""


def folder() -> Path:
    """The packaged model's folder, in Hugging Face's format."""
    return Path(str(resources.files(__package__).joinpath("model")))


class LabModel(HfModel):
    """The embedded model. It has all settings of `hf`, but the path is always the package's own."""

    profile: ClassVar[Mapping[str, Any]] = {"task": "lab-facts", "updater": UPDATE, "policy": POLICY}
    """The defaults of a run with this model."""

    def __init__(self, settings: HfSettings, weights: WeightSource) -> None:
        super().__init__(dataclasses.replace(settings, path=str(folder()), revision=None), weights)
        self.name = MODEL_VERSION

    def cannot_read(self, texts: Sequence[str], /) -> str:
        """The reason why it cannot read texts: it spells words from outside its world letter by letter, untrained."""
        words = [word for text in texts for word in _WORD.findall(text)][:_WORDS_READ]
        spelled = sum(self._spells(word) for word in words)
        if len(words) < _FEW_WORDS or spelled < _FOREIGN * len(words):
            return ""
        return (
            f"{MODEL_VERSION} knows only the words of its own made-up world (docs/lab.md) and spells out "
            f"{100 * spelled / len(words):.0f}% of those in this task: its scores say nothing; use another --model"
        )

    def _spells(self, word: str) -> bool:
        """Whether the tokenizer splits a word into three single letters or more."""
        return sum(len(piece.strip("▁")) == 1 for piece in self.prompts.tokenizer.tokenize(word)) >= _LETTERS
