"""How a judge agrees with recorded verdicts, and what it would make of the arms' order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from harness import stats
from harness.errors import RunError
from harness.evidence.leaderboard.summary import tables
from harness.evidence.recorded import Recorded, Verdicts, is_train_title
from harness.evidence.result_file import ResultFile
from harness.judges.base import Answer, Judge
from harness.judges.offline import MEASURES, NAME, Coefficients, OfflineJudge, measures

_RIDGE = 1e-3
_NEWTON_STEPS = 30


@dataclass(frozen=True)
class Calibration:
    """One judge against recorded verdicts, over distinct triples."""

    judge: str
    all: stats.Agreement
    held_out: stats.Agreement | None
    """On the titles that the judge was not trained on; None for a judge that was not trained on recorded verdicts."""
    unanswered: int
    """Answers that the judge gave no clear verdict on; they are left out."""


def calibrate(judge: Judge, verdicts: Verdicts) -> Calibration:
    """Accuracy and kappa of a judge, with intervals over resampled titles. A graded value of 0.5 or more counts as yes.

    Raises:
        RunError: the judge gave no verdict at all.
    """
    graded = judge.grade([Answer(one.question, (one.gold,), one.answer) for one in verdicts.kept])
    pairs = [
        (one, mine.value >= 0.5) for one, mine in zip(verdicts.kept, graded, strict=True) if mine.value is not None
    ]
    if not pairs:
        raise RunError(f"judge {judge.name} gave no verdict: {graded[0].reason or graded[0].status}")
    seen = set(judge.coefficients.train_titles) if isinstance(judge, OfflineJudge) else set()
    fresh = [(one, yes) for one, yes in pairs if one.title not in seen]
    return Calibration(
        judge.name, _agreement(pairs), _agreement(fresh) if seen and fresh else None, len(graded) - len(pairs)
    )


def _agreement(pairs: Sequence[tuple[Recorded, bool]]) -> stats.Agreement:
    return stats.agreement(
        [yes for _, yes in pairs], [one.correct for one, _ in pairs], [one.title for one, _ in pairs]
    )


# --- the order of arms -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RecordedAndJudged:
    """One row's score under the recorded verdicts and under a judge, over the same items."""

    name: str
    recorded: float
    judged: float


def swaps(arms: Sequence[RecordedAndJudged]) -> list[tuple[str, str]]:
    """Pairs of arms whose order the judge turns around: (ahead by the record, ahead by the judge)."""
    turned = []
    for one, other in combinations(arms, 2):
        if (one.recorded - other.recorded) * (one.judged - other.judged) < 0:
            turned.append((one.name, other.name) if one.recorded > other.recorded else (other.name, one.name))
    return turned


def arms(recorded: Sequence[ResultFile], judged: Sequence[ResultFile]) -> list[list[RecordedAndJudged]]:
    """Arms that were asked the same items, file by file; the two sequences are parallel."""
    groups: dict[Any, list[RecordedAndJudged]] = {}
    for ours, theirs in zip(recorded, judged, strict=True):
        for one, other in zip(ours.rows, theirs.rows, strict=True):
            if one.scored:
                groups.setdefault((ours.task.items, one.protocol), []).append(
                    RecordedAndJudged(one.method, tables(ours.task, one).mean, tables(theirs.task, other).mean)
                )
    return [group for group in groups.values() if len(group) > 1]


# --- training of offline-1 ---------------------------------------------------------------------------------------


def train(verdicts: Verdicts) -> Coefficients:
    """Fit the offline judge on the training half of the titles: ridge logistic regression by Newton's method."""
    kept = [one for one in verdicts.kept if one.answer.strip()]
    inside = [one for one in kept if is_train_title(one.title)]
    x = np.array([[1.0, *measures(one.question, one.gold, one.answer).values()] for one in inside])
    y = np.array([float(one.correct) for one in inside])
    weights = np.zeros(x.shape[1])
    for _ in range(_NEWTON_STEPS):
        p = 1 / (1 + np.exp(-x @ weights))
        gradient = x.T @ (p - y) + _RIDGE * weights
        hessian = (x * (p * (1 - p))[:, None]).T @ x + _RIDGE * np.eye(len(weights))
        weights -= np.linalg.solve(hessian, gradient)
    titles = sorted({one.title for one in kept})
    return Coefficients(
        round(float(weights[0]), 4),
        {name: round(float(weight), 4) for name, weight in zip(MEASURES, weights[1:], strict=True)},
        tuple(title for title in titles if is_train_title(title)),
        tuple(title for title in titles if not is_train_title(title)),
    )


def as_json(trained: Coefficients, verdicts: Verdicts, paths: Sequence[Path], command: str) -> Mapping[str, Any]:
    """The judge's file: coefficients, and everything that says where they come from."""
    found = calibrate(OfflineJudge(trained), verdicts)
    held_out = found.held_out
    return {
        "judge": NAME,
        "command": command,
        "files": [path.name for path in paths],
        "triples": len(verdicts.kept),
        "contradictory": verdicts.contradictory,
        "intercept": trained.intercept,
        "weights": dict(trained.weights),
        "held_out": None
        if held_out is None
        else {
            "n": held_out.n,
            "accuracy": round(held_out.accuracy, 4),
            "kappa": round(held_out.kappa, 4),
            "kappa_ci95": [round(held_out.interval.low, 4), round(held_out.interval.high, 4)],
        },
        "train_titles": list(trained.train_titles),
        "test_titles": list(trained.test_titles),
    }
