"""The model backend `encoder`: a sentence encoder, whose vectors stand in for a language model's own states.

Any encoder in Hugging Face's format, such as one of the sentence-transformers, pooled by the mean over its tokens as
most of them are trained (Reimers & Gurevych 2019, arXiv 1908.10084). It reads texts and writes none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from harness.api import Completion, Dropout, Model, Request, State, WeightSource
from harness.errors import UsageError
from harness.models.checkpoint import find_checkpoint


@dataclass(frozen=True)
class EncoderSettings:
    """Which encoder, and how it reads."""

    path: str = ""
    """A folder, or a name on the Hugging Face hub."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    device: str = "cpu"
    """``cpu``, ``cuda``, ``cuda:1``, ..."""
    batch: Annotated[int, Field(ge=1)] = 64
    """Texts read together."""
    max_length: Annotated[int, Field(ge=1)] = 256
    """Tokens of a text that are read; what follows is cut off."""


class Encoder(Model):
    """`--set roles.embedder=encoder:FOLDER`: sentence vectors as hidden states, of layer 0 and -1 alike."""

    Settings: ClassVar[type] = EncoderSettings
    local: ClassVar[bool] = True
    can = frozenset({"hidden"})

    def __init__(self, settings: EncoderSettings, weights: WeightSource) -> None:
        self._settings = settings
        self._checkpoint = find_checkpoint(settings.path, settings.revision, trust_remote_code=False)
        self.base = self._checkpoint.digest().replace("hf:", "encoder:", 1)
        self.name = Path(settings.path).name
        self.identity = {"name": self.name, "max_length": settings.max_length, "device": settings.device}

    def generate(self, asks: Sequence[Request], /) -> Sequence[Sequence[Completion]]:
        """Every request is ``failed``."""
        why = f"{self.name} is a sentence encoder, which writes nothing"
        return [[Completion(ask, "", finish="failed", reason=why) for _ in range(ask.n)] for ask in asks]

    def hidden(
        self,
        asks: Sequence[tuple[State, str]],
        /,
        *,
        layer: int,
        pool: Literal["mean", "last"] = "mean",
        dropout: Dropout | None = None,
    ) -> Sequence[Sequence[float]]:
        """The mean of each text's last states, over its tokens.

        Raises:
            UsageError: a layer in between, the last token's state, a dropout pass or a state with adapters is asked
                for, none of which a sentence vector has.
        """
        if layer not in (0, -1) or pool != "mean" or dropout is not None or any(state.adapters for state, _ in asks):
            raise UsageError(
                f"model encoder: {self.name} gives sentence vectors alone, which have no layers, dropout or adapters"
            )
        import torch

        tokenizer, model = self._loaded
        order = sorted(range(len(asks)), key=lambda place: (len(asks[place][1]), asks[place][1]))
        out: list[Sequence[float]] = [()] * len(asks)
        size = self._settings.batch
        for start in range(0, len(order), size):
            part = order[start : start + size]
            read = tokenizer(
                [asks[place][1] for place in part],
                padding=True,
                truncation=True,
                max_length=self._settings.max_length,
                return_tensors="pt",
            ).to(self._settings.device)
            with torch.inference_mode():
                states = model(**read).last_hidden_state.float()
            mask = read["attention_mask"][:, :, None].float()
            means = (states * mask).sum(1) / mask.sum(1).clamp(min=1)
            for place, vector in zip(part, means.cpu().tolist(), strict=True):
                out[place] = vector
        return out

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        import torch
        from transformers import AutoModel, AutoTokenizer

        folder = str(self._checkpoint.folder)
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model = AutoModel.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
        except Exception as error:  # transformers raises anything
            raise UsageError(f"model encoder: {self.name!r} cannot be loaded: {str(error).splitlines()[0]}") from error
        return tokenizer, model.to(self._settings.device).eval()
