"""How the offline judges are made: fitted on recorded verdicts, and their own error measured on arms left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import UsageError
from harness.evidence.judge_agreement import calibrate
from harness.evidence.recorded import Recorded, Verdicts, distinct, is_train_title
from harness.judges.base import OFFLINE
from harness.judges.offline import MEASURES, Coefficients, Error, OfflineJudge

Array = NDArray[np.float64]

REFERENCE = "gpt-4.1"
"""Whose verdicts the published logs hold."""
_RIDGE = 1e-3
_NEWTON_STEPS = 30
_WORTH = 0.001
"""Accuracy that ``offline-2`` gives up at most for counting as many answers right as the reference does."""
_LEAST_ARMS = 3


def train(name: str, verdicts: Verdicts, records: Sequence[Recorded] = ()) -> Coefficients:
    """Fit an offline judge on the training half of the titles, and measure its error on arms left out.

    Args:
        records: every verdict with its arm; without them, or with fewer than three arms, no error is measured.

    Raises:
        UsageError: ``name`` is no judge that is learned.
    """
    if name not in OFFLINE:
        raise UsageError(f"only {' and '.join(OFFLINE)} are learned, not {name!r}")
    kept = [one for one in verdicts.kept if one.answer.strip()]
    names, x, y = _table(name, kept)
    inside = np.array([is_train_title(one.title) for one in kept])
    weights = _fit(name, x[inside], y[inside])
    titles = sorted({one.title for one in kept})
    return Coefficients(
        round(float(weights[0]), 4),
        {measure: round(float(weight), 4) for measure, weight in zip(names, weights[1:], strict=True)},
        tuple(title for title in titles if is_train_title(title)),
        tuple(title for title in titles if not is_train_title(title)),
        _error(left_out(name, records)),
    )


def _table(name: str, kept: Sequence[Recorded]) -> tuple[list[str], Array, Array]:
    """Measures' names, ``[answer, 1 + measure]`` with a column of ones first, and the verdicts as 0 and 1."""
    found = [MEASURES[name](one.question, one.gold, one.answer) for one in kept]
    x = np.array([[1.0, *one.values()] for one in found])
    return list(found[0]), x, np.array([float(one.correct) for one in kept])


def _fit(name: str, x: Array, y: Array) -> Array:
    """Ridge logistic regression by Newton's method; ``offline-2`` then moves its intercept, see :func:`_threshold`."""
    weights = np.zeros(x.shape[1])
    for _ in range(_NEWTON_STEPS):
        p = 1 / (1 + np.exp(-x @ weights))
        gradient = x.T @ (p - y) + _RIDGE * weights
        hessian = (x * (p * (1 - p))[:, None]).T @ x + _RIDGE * np.eye(len(weights))
        weights -= np.linalg.solve(hessian, gradient)
    if name != "offline-1":
        weights[0] -= _threshold(x @ weights, y)
    return weights


def _threshold(logits: Array, y: Array) -> float:
    """The logit from which an answer counts: the least biased one that costs next to no accuracy.

    A judge that is wrong more often about right answers than about wrong ones counts too few from a logit of 0, where
    its accuracy is best but flat.
    """
    tried = np.arange(-100, 101) / 100
    accuracy = np.array([((logits > at) == (y > 0)).mean() for at in tried])
    bias = np.array([abs((logits > at).mean() - y.mean()) for at in tried])
    return float(tried[np.where(accuracy >= accuracy.max() - _WORTH, bias, np.inf).argmin()])


def left_out(name: str, records: Sequence[Recorded]) -> dict[str, float]:
    """Each arm's bias: the judge's share of right answers minus the reference's, as fractions.

    The judge is fitted anew for each arm, on neither its answers nor the titles that it is graded on (two halves).
    """
    verdicts = distinct([one for one in records if one.answer.strip()])
    place = {one.triple: at for at, one in enumerate(verdicts.kept)}
    arms: dict[str, list[Recorded]] = {}
    for one in records:
        if not one.answer.strip() or one.triple in place:  # A triple judged both ways as often has no verdict.
            arms.setdefault(one.arm, []).append(one)
    if len(arms) < _LEAST_ARMS:
        return {}
    _, x, y = _table(name, verdicts.kept)
    half = np.array([is_train_title(one.title) for one in verdicts.kept])
    out = {}
    for arm, answered in arms.items():
        asked = {place[one.triple] for one in answered if one.answer.strip()}
        mine = np.isin(np.arange(len(y)), list(asked))
        right = np.zeros(len(y), dtype=bool)
        for side in (True, False):
            weights = _fit(name, x[(half == side) & ~mine], y[(half == side) & ~mine])
            right[half != side] = x[half != side] @ weights > 0
        counted = sum(bool(one.answer.strip()) and bool(right[place[one.triple]]) for one in answered)
        out[arm] = (counted - sum(one.correct for one in answered)) / len(answered)
    return out


def _error(by_arm: Mapping[str, float]) -> Error | None:
    if not by_arm:
        return None
    values = np.array(list(by_arm.values()))
    return Error(REFERENCE, round(float(values.mean()), 4), round(float(values.std(ddof=1)), 4), len(values))


def as_json(
    name: str,
    trained: Coefficients,
    verdicts: Verdicts,
    records: Sequence[Recorded],
    paths: Sequence[Path],
    command: str,
) -> Mapping[str, Any]:
    """The judge's file: coefficients, and everything that says where they come from and how far they are off."""
    held_out = calibrate(OfflineJudge(name, trained), verdicts).held_out
    error = trained.error
    return {
        "judge": name,
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
        "error": None
        if error is None
        else {**vars(error), "by_arm": {arm: round(bias, 4) for arm, bias in left_out(name, records).items()}},
        "train_titles": list(trained.train_titles),
        "test_titles": list(trained.test_titles),
    }
