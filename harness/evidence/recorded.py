"""Recorded verdicts of a judge, as the ground truth that other judges are compared with."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Recorded:
    """One verdict on one answer."""

    title: str
    question: str
    gold: str
    answer: str
    correct: bool
    arm: str = ""
    """The row of a log that gave this answer."""

    @property
    def triple(self) -> tuple[str, str, str]:
        return self.question, self.gold, self.answer


@dataclass(frozen=True)
class Verdicts:
    """Distinct (question, gold, answer) triples with the verdict that most of their records gave."""

    kept: tuple[Recorded, ...]
    records: int
    """Number of verdicts behind them."""
    contradictory: int
    """Triples that were judged right as often as wrong: they have no verdict and are left out."""


def distinct(records: Sequence[Recorded]) -> Verdicts:
    """One verdict per triple, by majority."""
    votes: dict[tuple[str, str, str], list[Recorded]] = {}
    for one in records:
        votes.setdefault(one.triple, []).append(one)
    kept = []
    for same in votes.values():
        yes = sum(one.correct for one in same)
        if 2 * yes != len(same):
            first = same[0]
            kept.append(replace(first, correct=2 * yes > len(same), arm=""))
    return Verdicts(tuple(kept), len(records), len(votes) - len(kept))


def is_train_title(title: str) -> bool:
    """A fixed half of all titles, by digest, so that the split does not depend on which files are read."""
    return int(hashlib.sha256(title.encode()).hexdigest(), 16) % 2 == 0
