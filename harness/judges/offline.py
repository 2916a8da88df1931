"""The offline judges: a logistic regression over features of the texts, fitted to recorded GPT-4.1 verdicts.

A judge's coefficients are data, with the command that made them and the judge's own measured error beside them
(``offline-1.json``, ``offline-2.json``). A new set of features or coefficients is a new judge with a new name; a judge
that has been published never changes, so that its old rows keep their meaning.
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
from harness.api import Ledger
from harness.judges import features
from harness.judges.base import Answer, Grade

_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class Error:
    """How far a judge's scores of arms are from those of the judge that it was fitted to, over arms that the fit left
    out."""

    reference: str
    bias: float
    """The mean over arms of the judge's share of right answers minus the reference's."""
    spread: float
    """Standard deviation (n - 1) of the arms' biases, which includes their sampling noise."""
    arms: int


@dataclass(frozen=True)
class Coefficients:
    """A fitted judge: ``logit = intercept + sum(weight * feature)``; an answer is right where the logit is above 0."""

    intercept: float
    weights: Mapping[str, float]
    train_titles: tuple[str, ...]
    test_titles: tuple[str, ...]
    """Titles that the fit never saw; agreement is reported on these."""
    error: Error | None = None
    """None where there were too few arms to measure it."""


class OfflineJudge:
    """Right or wrong, from the text alone. Where there are several golds, the best match counts."""

    ledger: Ledger | None = None

    def __init__(self, name: str, coefficients: Coefficients | None = None) -> None:
        """``coefficients`` replace the shipped ones of that name."""
        self.name = name
        self.coefficients = coefficients or shipped(name)
        self._features = FEATURES[name]

    def grade(self, answers: Sequence[Answer], /) -> list[Grade]:
        return [Grade(float(self._right(one))) for one in answers]

    def _right(self, one: Answer) -> bool:
        return bool(one.text.strip()) and any(self.logit(one.question, gold, one.text) > 0 for gold in one.golds)

    def logit(self, question: str, gold: str, answer: str) -> float:
        """Natural log-odds that the answer is right, against one gold."""
        features = self._features(question, gold, answer)
        return self.coefficients.intercept + sum(
            weight * features[name] for name, weight in self.coefficients.weights.items()
        )


def _offline_1(question: str, gold: str, answer: str) -> dict[str, float]:
    return {name: one(question, gold, answer) for name, one in _OF_OFFLINE_1.items()}


def _offline_2(question: str, gold: str, answer: str) -> dict[str, float]:
    first = _offline_1(question, gold, answer)
    del first["length"]
    return first | features.features(question, gold, answer)


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
    """Natural log of 1 + the answer's tokens: a long answer contains the gold's tokens more often by chance."""
    return math.log1p(len(_tokens(answer)))


_OF_OFFLINE_1: Mapping[str, Callable[[str, str, str], float]] = {
    "new_recall": _new_recall,
    "trigram_recall": _trigram_recall,
    "numbers": _numbers,
    "length": _length,
}
FEATURES: Mapping[str, Callable[[str, str, str], dict[str, float]]] = {
    "offline-1": _offline_1,
    "offline-2": _offline_2,
}
"""Each offline judge's features of (question, gold, answer)."""


def _tokens(text: str) -> list[str]:
    return metrics.normalize(text).split()


def _trigrams(text: str) -> Counter[str]:
    padded = f" {metrics.normalize(text)} "
    return Counter(padded[at : at + 3] for at in range(len(padded) - 2))


def _share(wanted: Counter[str], found: Counter[str]) -> float:
    return (wanted & found).total() / wanted.total() if wanted else 0.0


@cache
def shipped(name: str) -> Coefficients:
    """The coefficients that ship with the package."""
    return parse(json.loads(shipped_text(name)))


def shipped_text(name: str) -> str:
    """A judge's file: what was fitted, on what, by which command, and how far it is off."""
    return resources.files("harness.judges").joinpath(f"{name}.json").read_text(encoding="utf-8")


def parse(raw: Mapping[str, Any]) -> Coefficients:
    """Coefficients from a judge's file, as JSON."""
    error = raw.get("error")
    return Coefficients(
        float(raw["intercept"]),
        {name: float(weight) for name, weight in raw["weights"].items()},
        tuple(raw["train_titles"]),
        tuple(raw["test_titles"]),
        Error(error["reference"], error["bias"], error["spread"], error["arms"]) if error else None,
    )
