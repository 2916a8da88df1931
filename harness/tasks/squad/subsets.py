"""Which passages and questions are used, and for what: the published choices by name, and splits by title.

The choices are those of SEAL's released code and logs (arXiv 2506.10943, versions 1 and 2): Python's own shuffle of
the whole list with seed 42, a slice from its start, and for continued pretraining 500 of the questions.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TypeVar

from harness.tasks.squad.passages import Passage

_T = TypeVar("_T")
SHUFFLE_SEED = 42


@dataclass(frozen=True)
class Subset:
    """A choice of test passages and questions."""

    shuffle: bool = True
    contexts: int | None = None
    """Take this many from the start; None takes all."""
    questions: int | None = None
    """Draw this many from all chosen passages; None keeps all. A passage left without questions is still learnt."""
    question_seed: int = SHUFFLE_SEED


SUBSETS: Mapping[str, Subset] = MappingProxyType(
    {
        "shuffled": Subset(),
        "file-order": Subset(shuffle=False),
        "seal-200": Subset(contexts=200),
        "seal-200-500": Subset(contexts=200, questions=500),
        "seal-200-500-seed43": Subset(contexts=200, questions=500, question_seed=43),
        "seal-2067-500": Subset(questions=500),
    }
)
"""``seal-200`` has the 974 questions of the single-passage tables; ``seal-200-500`` and ``seal-2067-500`` are those of
the second version's continued pretraining, ``seal-200-500-seed43`` that of its generative-adapter row."""


def shuffled(items: Sequence[_T], seed: int = SHUFFLE_SEED) -> list[_T]:
    """``random.seed(seed); random.shuffle(items)``, without touching the global generator."""
    order = list(items)
    random.Random(seed).shuffle(order)
    return order


def choose(passages: Sequence[Passage], subset: Subset) -> list[Passage]:
    """The subset's passages in its order, each with the questions that were drawn, in the passage's order."""
    chosen = shuffled(passages) if subset.shuffle else list(passages)
    chosen = chosen[: subset.contexts]
    if subset.questions is None:
        return chosen
    pairs = [(p, q) for p, passage in enumerate(chosen) for q in range(len(passage.questions))]
    drawn = set(shuffled(pairs, subset.question_seed)[: subset.questions])
    return [
        replace(passage, questions=tuple(asked for q, asked in enumerate(passage.questions) if (p, q) in drawn))
        for p, passage in enumerate(chosen)
    ]


def deal(passages: Sequence[Passage], shares: Sequence[float]) -> list[list[Passage]]:
    """Passages dealt into parts by the SHA-256 of their titles, so that no title is in two parts.

    Titles in the order of their hashes fill the parts from the last to the first. Each part gets about its share of
    all titles, at least one; the first takes the rest. Where there are fewer titles than parts, single passages are
    dealt instead. A part's passages keep their order.

    Raises:
        ValueError: there are fewer passages than parts.
    """
    units = [passage.title for passage in passages]
    if len(set(units)) < len(shares):
        units = [passage.id for passage in passages]
    ranked = sorted(set(units), key=lambda unit: hashlib.sha256(unit.encode("utf-8", "surrogatepass")).digest())
    if len(ranked) < len(shares):
        raise ValueError(f"{len(ranked)} passages cannot be dealt into {len(shares)} parts")
    part_of: dict[str, int] = {}
    left = ranked
    for part in range(len(shares) - 1, 0, -1):
        size = max(1, min(round(shares[part] * len(ranked)), len(left) - part))
        part_of |= dict.fromkeys(left[:size], part)
        left = left[size:]
    part_of |= dict.fromkeys(left, 0)
    return [
        [p for p, unit in zip(passages, units, strict=True) if part_of[unit] == part] for part in range(len(shares))
    ]
