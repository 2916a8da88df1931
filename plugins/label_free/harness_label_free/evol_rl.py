"""EVOL-RL (Zhou et al. 2025, arXiv 2509.15194): the majority is right, and novelty decides within it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from harness.api import Session, State
from harness_label_free.answering import Answered
from harness_label_free.novelty import Matrix, banded, cosine, ngram_overlap
from harness_label_free.ttrl import Ttrl, TtrlSettings


@dataclass(frozen=True)
class EvolRlSettings(TtrlSettings):
    """TTRL's, and how alike two answers are."""

    split: Literal["train", "test"] = "train"
    similarity: Literal["hidden", "ngrams"] = "hidden"
    """``hidden``: cosine of pooled hidden states of the role ``embedder``, untrained; ``ngrams``: overlap of tokens."""
    layer: int = -1
    """The layer of those hidden states; -1 is the last."""
    ngram: Annotated[int, Field(ge=1)] = 3
    """Length of the runs of tokens whose overlap is measured."""
    weight: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Of the mean similarity within one's own side, against the largest one to anybody (alpha in the paper)."""
    unanimous: bool = True
    """Whether a group of one opinion is trained on, for novelty alone, as the paper does."""


class EvolRl(Ttrl):
    """TTRL with banded rewards; novelty is over all samples that vote, of which the first are trained on."""

    Settings: ClassVar[type] = EvolRlSettings
    name: ClassVar[str] = "evol-rl"
    _settings: EvolRlSettings

    def rewards(self, groups: Sequence[Answered], wanted: Sequence[str | None], s: Session) -> list[list[float | None]]:
        """Bands; -1 for an answer that cannot be parsed, and for all where fewer than two can (as released)."""
        similar = self._similar(groups, s)
        out: list[list[float | None]] = []
        for group, label, table in zip(groups, wanted, similar, strict=True):
            rewards: list[float | None] = [-1.0] * len(group.answers)
            valid = [i for i, answer in enumerate(group.answers) if answer is not None]
            agreeing = group.agreeing(label, s)
            if len(valid) > 1:
                sides = [agreeing[i] for i in valid]
                for i, reward in zip(valid, banded(table, sides, self._settings.weight), strict=True):
                    rewards[i] = reward
            if not self._settings.unanimous and len(valid) == len(rewards) and len(set(agreeing)) == 1:
                rewards = [0.0] * len(rewards)
            out.append(rewards)
        return out

    def _similar(self, groups: Sequence[Answered], s: Session) -> list[Matrix]:
        """Similarities of every group's valid answers."""
        texts = [
            [one.text for one, answer in zip(group.completions, group.answers, strict=True) if answer is not None]
            for group in groups
        ]
        if self._settings.similarity == "ngrams":
            return [ngram_overlap([_tokens(text) for text in row], self._settings.ngram) for row in texts]
        embedder: State = s.roles["embedder"]
        different = list(dict.fromkeys(text for row in texts for text in row))
        asks = [(embedder, text) for text in different]
        vectors = dict(zip(different, s.lm("embedder").hidden(asks, layer=self._settings.layer), strict=True))
        return [cosine([vectors[text] for text in row]) for row in texts]


def _tokens(text: str) -> list[str]:
    """Words and signs; digits apart, so that texts that differ in a number differ little."""
    out: list[str] = []
    for character in text:
        if character.isalpha() and out and out[-1][-1:].isalpha():
            out[-1] += character
        elif character.isspace():
            out.append("")
        else:
            out.append(character)
    return [token for token in out if token]
