"""How the offline judges are made: fitted on recorded verdicts, and their own error measured on arms left out."""

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
from harness.judges.offline import MEASURES, Coefficients, Error, OfflineJudge

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
Parts = NDArray[np.int_]

REFERENCE = "gpt-4.1"
"""Whose verdicts the published logs hold."""
_RIDGE = 1e-3
_NEWTON_STEPS = 30
_SMALL = 1e-9
_PARTS = 10
_WORTH = 0.003
"""Kappa that ``offline-2`` gives up at most for counting as many answers right as the reference does."""
_LEAST_ARMS = 3


def train(name: str, verdicts: Verdicts, records: Sequence[Recorded] = ()) -> Coefficients:
    """Fit an offline judge, and measure its error on arms and titles left out.

    ``offline-1`` is fitted on the training half of the titles. ``offline-2`` is fitted on all of them, for its
    agreement is that of ten fits that each leave a tenth of the titles out (:func:`agreement`).

    Args:
        records: every verdict with its arm; without them, or with fewer than three arms, no error is measured.

    Raises:
        UsageError: ``name`` is no judge that is learned.
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
        {measure: round(float(weight), 4) for measure, weight in zip(names, weights[1:], strict=True)},
        tuple(title for title in titles if title in seen),
        tuple(title for title in titles if title not in seen),
        _error(left_out(name, records)),
    )


def agreement(name: str, verdicts: Verdicts) -> stats.Agreement:
    """Agreement over all titles, each answer judged by a fit that left its title out (ten parts of the titles)."""
    kept = [one for one in verdicts.kept if one.answer.strip()]
    _, x, y = _table(name, kept)
    right = dict(zip((one.triple for one in kept), _judged(name, x, y, _parts(kept)).tolist(), strict=True))
    return stats.agreement(
        [right.get(one.triple, False) for one in verdicts.kept],
        [one.correct for one in verdicts.kept],
        [one.title for one in verdicts.kept],
    )


def _parts(kept: Sequence[Recorded]) -> Parts:
    """The part of each answer's title, by digest, so that it does not depend on which files are read."""
    digests = {one.title: hashlib.sha256(one.title.encode()).hexdigest() for one in kept}
    return np.array([int(digests[one.title], 16) // 2 % _PARTS for one in kept])


def _judged(name: str, x: Array, y: Array, parts: Parts, without: Flags | None = None) -> Flags:
    """Whether each answer is right by the fit that saw neither its part nor the answers marked in ``without``."""
    right = np.zeros(len(y), dtype=bool)
    taken = np.ones(len(y), dtype=bool) if without is None else ~without
    for part in range(_PARTS):
        ours = parts == part
        if ours.any() and (taken & ~ours).any():
            right[ours] = x[ours] @ _fit(name, x[taken & ~ours], y[taken & ~ours]) > 0
    return right


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
        step = np.linalg.solve(hessian, gradient)
        weights -= step
        if np.abs(step).max() < _SMALL:
            break
    if name != "offline-1":
        weights[0] -= _threshold(x @ weights, y)
    return weights


def _threshold(logits: Array, y: Array) -> float:
    """The logit from which an answer counts: the least biased one that costs next to no agreement.

    A judge that is wrong more often about right answers than about wrong ones counts too few from a logit of 0, where
    its agreement is best but flat.
    """
    tried = np.arange(-100, 101) / 100
    right = logits > tried[:, None]
    counted, agreed = right.mean(axis=1), (right == (y > 0)).mean(axis=1)
    by_chance = counted * y.mean() + (1 - counted) * (1 - y.mean())
    kappa = (agreed - by_chance) / (1 - by_chance)
    bias = np.abs(counted - y.mean())
    return float(tried[np.where(kappa >= kappa.max() - _WORTH, bias, np.inf).argmin()])


def left_out(name: str, records: Sequence[Recorded]) -> dict[str, float]:
    """Each arm's bias: the judge's share of right answers minus the reference's, as fractions.

    The judge is fitted anew for each arm, on neither its answers nor the titles that it is graded on (ten parts).
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
    parts = _parts(verdicts.kept)
    out = {}
    for arm, answered in arms.items():
        mine = np.isin(np.arange(len(y)), [place[one.triple] for one in answered if one.answer.strip()])
        right = _judged(name, x, y, parts, mine)
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
