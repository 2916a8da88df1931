"""How the offline judges are made: fitted to recorded verdicts, with their error measured on arms left out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import stats
from harness.errors import UsageError
from harness.evidence.judge_agreement import calibrate
from harness.evidence.recorded import Recorded, Verdicts, distinct, is_train_title
from harness.judges.base import OFFLINE
from harness.judges.offline import FEATURES, Coefficients, Error, OfflineJudge

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
Folds = NDArray[np.int_]

REFERENCE = "gpt-4.1"
"""The judge whose verdicts the published logs hold."""
_RIDGE = 1e-3
_NEWTON_STEPS = 30
_SMALL = 1e-9
_FOLDS = 10
_KAPPA_TOLERANCE = 0.003
"""Most kappa that ``offline-2`` gives up for counting as many answers right as the reference does."""
_MIN_ARMS = 3


def train(name: str, verdicts: Verdicts, records: Sequence[Recorded] = ()) -> Coefficients:
    """Fit an offline judge, and measure its error on arms and titles left out.

    ``offline-1`` is fitted to the training half of the titles. ``offline-2`` is fitted to all of them, for its
    agreement is measured by tenfold cross-validation over titles (:func:`agreement`).

    Args:
        records: every verdict with its arm; without them, or with fewer than three arms, no error is measured.

    Raises:
        UsageError: ``name`` is not a judge that is fitted.
    """
    if name not in OFFLINE:
        raise UsageError(f"only {' and '.join(OFFLINE)} are learned, not {name!r}")
    kept = [one for one in verdicts.kept if one.answer.strip()]
    names, x, y = _table(name, kept)
    inside = np.array([name != "offline-1" or is_train_title(one.title) for one in kept])
    weights = _fit(name, x[inside], y[inside])
    titles = sorted({one.title for one in kept})
    seen = {one.title for one, taken in zip(kept, inside, strict=True) if taken}
    return Coefficients(
        round(float(weights[0]), 4),
        {feature: round(float(weight), 4) for feature, weight in zip(names, weights[1:], strict=True)},
        tuple(title for title in titles if title in seen),
        tuple(title for title in titles if title not in seen),
        _error(left_out(name, records)),
    )


def agreement(name: str, verdicts: Verdicts) -> stats.Agreement:
    """Agreement over all titles, each answer judged by a fit that left its title out (tenfold cross-validation)."""
    kept = [one for one in verdicts.kept if one.answer.strip()]
    _, x, y = _table(name, kept)
    right = dict(zip((one.triple for one in kept), _judged(name, x, y, _folds(kept)).tolist(), strict=True))
    return stats.agreement(
        [right.get(one.triple, False) for one in verdicts.kept],
        [one.correct for one in verdicts.kept],
        [one.title for one in verdicts.kept],
    )


def _folds(kept: Sequence[Recorded]) -> Folds:
    """The fold of each answer, by the digest of its title, so that it does not depend on which files are read."""
    digests = {one.title: hashlib.sha256(one.title.encode()).hexdigest() for one in kept}
    return np.array([int(digests[one.title], 16) // 2 % _FOLDS for one in kept])


def _judged(name: str, x: Array, y: Array, folds: Folds, without: Flags | None = None) -> Flags:
    """Whether each answer is right by the fit that saw neither its fold nor the answers marked in ``without``."""
    right = np.zeros(len(y), dtype=bool)
    taken = np.ones(len(y), dtype=bool) if without is None else ~without
    for fold in range(_FOLDS):
        held_out = folds == fold
        fitted = taken & ~held_out
        if held_out.any() and fitted.any():
            right[held_out] = x[held_out] @ _fit(name, x[fitted], y[fitted]) > 0
    return right


def _table(name: str, kept: Sequence[Recorded]) -> tuple[list[str], Array, Array]:
    """Names of the features; the array [answers, 1 + features], with ones in its first column; verdicts as 0 and 1."""
    found = [FEATURES[name](one.question, one.gold, one.answer) for one in kept]
    x = np.array([[1.0, *one.values()] for one in found])
    return list(found[0]), x, np.array([float(one.correct) for one in kept])


def _fit(name: str, x: Array, y: Array) -> Array:
    """Ridge logistic regression by Newton's method; ``offline-2`` then moves its intercept, see :func:`_threshold`."""
    weights = np.zeros(x.shape[1])
    for _ in range(_NEWTON_STEPS):
        p = 1 / (1 + np.exp(-x @ weights))
        gradient = x.T @ (p - y) + _RIDGE * weights
        hessian = (x * (p * (1 - p))[:, None]).T @ x + _RIDGE * np.eye(len(weights))
        step = np.linalg.solve(hessian, gradient)
        weights -= step
        if np.abs(step).max() < _SMALL:
            break
    if name != "offline-1":
        weights[0] -= _threshold(x @ weights, y)
    return weights


def _threshold(logits: Array, y: Array) -> float:
    """The logit above which an answer is right: the least biased one that costs next to no agreement.

    At a logit of 0 agreement is highest, but a judge that errs more often on right answers than on wrong ones counts
    too few of them. Agreement is flat around there, so a lower threshold costs little.
    """
    tried = np.arange(-100, 101) / 100
    right = logits > tried[:, None]
    counted, agreed = right.mean(axis=1), (right == (y > 0)).mean(axis=1)
    by_chance = counted * y.mean() + (1 - counted) * (1 - y.mean())
    kappa = (agreed - by_chance) / (1 - by_chance)
    bias = np.abs(counted - y.mean())
    return float(tried[np.where(kappa >= kappa.max() - _KAPPA_TOLERANCE, bias, np.inf).argmin()])


def left_out(name: str, records: Sequence[Recorded]) -> dict[str, float]:
    """Each arm's bias: the judge's share of right answers minus the reference's, as fractions.

    The judge is fitted anew for each arm, without the arm's answers and without the titles that it grades (ten folds).
    """
    verdicts = distinct([one for one in records if one.answer.strip()])
    place = {one.triple: at for at, one in enumerate(verdicts.kept)}
    arms: dict[str, list[Recorded]] = {}
    for one in records:
        if not one.answer.strip() or one.triple in place:  # A triple judged right as often as wrong has no verdict.
            arms.setdefault(one.arm, []).append(one)
    if len(arms) < _MIN_ARMS:
        return {}
    _, x, y = _table(name, verdicts.kept)
    folds = _folds(verdicts.kept)
    out = {}
    for arm, answered in arms.items():
        mine = np.isin(np.arange(len(y)), [place[one.triple] for one in answered if one.answer.strip()])
        right = _judged(name, x, y, folds, mine)
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
    """The judge's file as JSON: its coefficients, where they come from, and how far they are off."""
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
        "held_out": _agreement(held_out) if held_out else None,
        "titles_left_out": _agreement(agreement(name, verdicts)),
        "error": None
        if error is None
        else {**vars(error), "by_arm": {arm: round(bias, 4) for arm, bias in left_out(name, records).items()}},
        "train_titles": list(trained.train_titles),
        "test_titles": list(trained.test_titles),
    }


def _agreement(found: stats.Agreement) -> dict[str, Any]:
    return {
        "n": found.n,
        "accuracy": round(found.accuracy, 4),
        "kappa": round(found.kappa, 4),
        "kappa_ci95": [round(found.interval.low, 4), round(found.interval.high, 4)],
    }
