"""The judge ``offline-1``: four string measures and a logistic regression, learned on recorded GPT-4.1 verdicts.

Its coefficients are data, with the command that made them beside them (``offline-1.json``). A new set of measures or
coefficients is a new judge with a new name; this one never changes.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from harness import metrics
from harness.judges.base import Answer, Grade

NAME = "offline-1"
FILE = "offline-1.json"
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class Coefficients:
    """A trained judge: ``logit = intercept + sum(weight * measure)``; an answer counts from a logit of 0."""

    intercept: float
    weights: Mapping[str, float]
    train_titles: tuple[str, ...]
    test_titles: tuple[str, ...]
    """Titles that training never saw: agreement is reported on these."""


class OfflineJudge:
    """Right or wrong, from the text alone. With several golds the best one counts."""

    name = NAME

    def __init__(self, coefficients: Coefficients | None = None) -> None:
        self.coefficients = coefficients or shipped()

    def grade(self, answers: Sequence[Answer], /) -> list[Grade]:
        return [Grade(float(self._right(one))) for one in answers]

    def _right(self, one: Answer) -> bool:
        return bool(one.text.strip()) and any(self.logit(one.question, gold, one.text) > 0 for gold in one.golds)

    def logit(self, question: str, gold: str, answer: str) -> float:
        found = measures(question, gold, answer)
        return self.coefficients.intercept + sum(
            weight * found[name] for name, weight in self.coefficients.weights.items()
        )


def measures(question: str, gold: str, answer: str) -> dict[str, float]:
    """The measures of one answer by name."""
    return {name: one(question, gold, answer) for name, one in MEASURES.items()}


def _new_recall(question: str, gold: str, answer: str) -> float:
    """Share of the gold's tokens, without those that the question already gave away, that the answer has."""
    asked = set(_tokens(question))
    new = [token for token in _tokens(gold) if token not in asked]
    return _share(Counter(new or _tokens(gold)), Counter(_tokens(answer)))


def _trigram_recall(question: str, gold: str, answer: str) -> float:
    """Share of the gold's character trigrams that the answer has: forgives inflection and spelling."""
    return _share(_trigrams(gold), _trigrams(answer))


def _numbers(question: str, gold: str, answer: str) -> float:
    """1 where the answer has all numbers of the gold, -1 where it lacks one, 0 where the gold has none."""
    wanted = set(_NUMBER.findall(gold))
    if not wanted:
        return 0.0
    return 1.0 if wanted <= set(_NUMBER.findall(answer)) else -1.0


def _length(question: str, gold: str, answer: str) -> float:
    """Natural log of 1 + the answer's tokens: what a long answer contains, it contains more often by chance."""
    return math.log1p(len(_tokens(answer)))


MEASURES: Mapping[str, Callable[[str, str, str], float]] = {
    "new_recall": _new_recall,
    "trigram_recall": _trigram_recall,
    "numbers": _numbers,
    "length": _length,
}


def _tokens(text: str) -> list[str]:
    return metrics.normalize(text).split()


def _trigrams(text: str) -> Counter[str]:
    padded = f" {metrics.normalize(text)} "
    return Counter(padded[at : at + 3] for at in range(len(padded) - 2))


def _share(wanted: Counter[str], found: Counter[str]) -> float:
    return (wanted & found).total() / wanted.total() if wanted else 0.0


@cache
def shipped() -> Coefficients:
    """The coefficients that ship with the package."""
    return parse(json.loads(resources.files("harness.judges").joinpath(FILE).read_text(encoding="utf-8")))


def parse(raw: Mapping[str, Any]) -> Coefficients:
    return Coefficients(
        float(raw["intercept"]),
        {name: float(weight) for name, weight in raw["weights"].items()},
        tuple(raw["train_titles"]),
        tuple(raw["test_titles"]),
    )
