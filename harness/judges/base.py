"""What a judge is asked and what it answers, and the names by which a judge is chosen.

The default is one fixed, named, versioned offline judge; it never depends on the environment, so a score means the same
thing on every machine. A judge's own failure is an ``error`` and has no value; a verdict that cannot be read is
``unparsed`` and has none either.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from harness import metrics
from harness.api import Ledger
from harness.errors import UsageError

DEFAULT = "offline-2"
OFFLINE = ("offline-1", "offline-2")
"""Learned judges that need nothing but the texts, oldest first."""

RECALL_THRESHOLD = 0.6
"""The token recall from which an answer is right. This one agrees best with recorded GPT-4.1 verdicts (``judge
calibrate``)."""


@dataclass(frozen=True)
class Answer:
    """One answer to grade."""

    question: str
    golds: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class Grade:
    """The grade in [0, 1]; None where the judge gave none (``error``) or an unclear one (``unparsed``)."""

    value: float | None
    status: Literal["ok", "unparsed", "error"] = "ok"
    reason: str = ""


class Judge(Protocol):
    """Grades answers in bulk."""

    name: str
    """One of every row's conditions: scores by different judges are never ranked together."""

    ledger: Ledger | None
    """Where paid calls are entered; None, its initial value, outside a run."""

    def grade(self, answers: Sequence[Answer], /) -> list[Grade]:
        """One grade per answer, in order. A blank answer is wrong (0.0), and is not sent anywhere."""
        ...


class Measure:
    """A string measure as a judge; needs nothing but the text."""

    ledger: Ledger | None = None

    def __init__(self, name: str, measure: Callable[[str, Sequence[str]], float]) -> None:
        self.name = name
        self._measure = measure

    def grade(self, answers: Sequence[Answer], /) -> list[Grade]:
        return [Grade(self._measure(one.text, one.golds) if one.text.strip() else 0.0) for one in answers]


def recall_judge(answer: str, golds: Sequence[str]) -> float:
    """1.0 where at least 60% of a gold's tokens occur in the answer."""
    return float(metrics.token_recall(answer, golds) >= RECALL_THRESHOLD)


MEASURES: Mapping[str, Callable[[str, Sequence[str]], float]] = {
    "exact": metrics.exact,
    "f1": metrics.f1,
    "contains": metrics.contains,
    "recall": recall_judge,
}

JUDGES: Mapping[str, str] = {
    "offline-2": "the default: a learned judge that needs nothing but the texts",
    "offline-1": "its predecessor",
    "exact": "SQuAD's exact match",
    "f1": "SQuAD's F1 of tokens",
    "contains": "whether the answer contains an accepted one, as a run of whole tokens",
    "recall": f"whether it holds at least {RECALL_THRESHOLD:.0%} of the tokens of an accepted one",
    "openai:MODEL": "a model of OpenAI's, asked for a verdict",
    "openai:MODEL@URL": "a model behind any other OpenAI-compatible endpoint",
}
"""What ``--judge`` takes -> a line about it."""


@dataclass(frozen=True)
class Budget:
    """What a judge that costs money may spend, and where its verdicts are kept."""

    max_calls: int = 0
    """Calls in this process; 0 is no limit."""
    max_cost: float = 0.0
    """US dollars that the judge's model may cost in a run (outside one, in this process); 0 is no limit."""
    cache: Path | None = None
    """Folder of verdicts; None keeps none."""
    batch: bool = False
    """Whether verdicts are asked by OpenAI's batch mode, which parks the run (:mod:`harness.models.batch`)."""

    def __post_init__(self) -> None:
        if self.max_calls < 0 or not 0 <= self.max_cost < math.inf:
            raise UsageError(
                f"a judge's limits are 0 (none) or more, not {self.max_calls} calls and {self.max_cost:g} US dollars"
            )
