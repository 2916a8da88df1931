"""Which answers become preference pairs, from their scores and lengths. Pure functions over places in a group."""

from __future__ import annotations

from collections.abc import Sequence

Scores = Sequence[float | None]
"""One per answer; None for an answer that has no score, which is in no pair."""


def extremes(scores: Scores, lengths: Sequence[int], rho: float | None = None) -> list[tuple[int, int]]:
    """The best answer against the worst: ``[(chosen, rejected)]``, or nothing where the extremes are equal.

    Without ``rho`` it is the highest score against the lowest, the first of equals (Yuan et al. 2024, arXiv 2401.10020,
    section 2.4). With it, lengths are controlled (Wu et al. 2024, arXiv 2407.19594, section 2.2): chosen is the
    shortest answer within the share ``rho`` of the scores' range below the top, rejected the longest within it above
    the bottom. The two bands must not meet, so ``rho`` is below 0.5.
    """
    known = [(score, place) for place, score in enumerate(scores) if score is not None]
    if len(known) < 2:
        return []
    low, high = min(score for score, _ in known), max(score for score, _ in known)
    if low == high:
        return []
    if rho is None:
        best = next(place for score, place in known if score == high)
        return [(best, next(place for score, place in known if score == low))]
    slack = 1e-9 * (high - low)
    good = [place for score, place in known if score >= high - rho * (high - low) - slack]
    bad = [place for score, place in known if score <= low + rho * (high - low) + slack]
    return [(min(good, key=lambda place: lengths[place]), max(bad, key=lambda place: lengths[place]))]


def failures(scores: Scores, lengths: Sequence[int], passing: float, rho: float | None = None) -> list[tuple[int, int]]:
    """Every answer that fails against one that passes: each failure is rejected once, and the passing answers are
    chosen in turn, best first. Nothing where all pass or all fail.

    With ``rho``, lengths are controlled: of the passing answers, those within the share ``rho`` of the scores' range
    below the top are chosen in turn, shortest first.
    """
    known = [(score, place) for place, score in enumerate(scores) if score is not None]
    good = sorted(((score, place) for score, place in known if score >= passing), key=lambda one: -one[0])
    bad = [place for score, place in known if score < passing]
    if not good or not bad:
        return []
    chosen = [place for _, place in good]
    if rho is not None:
        high, low = good[0][0], min(score for score, _ in known)
        near = [place for score, place in good if score >= high - (rho + 1e-9) * (high - low)]
        chosen = sorted(near, key=lambda place: lengths[place])
    return [(chosen[number % len(chosen)], place) for number, place in enumerate(bad)]


def best(scores: Scores) -> int | None:
    """The place of the highest score, the first of equals; None where nothing is scored."""
    known = [(score, -place) for place, score in enumerate(scores) if score is not None]
    return -max(known)[1] if known else None


def won(scores: Scores, right: Sequence[bool]) -> tuple[float, int]:
    """Pairs of a right and a wrong answer, both scored: how many the right one wins (a tie is half), and how many there
    are."""
    good = [score for score, is_right in zip(scores, right, strict=True) if score is not None and is_right]
    bad = [score for score, is_right in zip(scores, right, strict=True) if score is not None and not is_right]
    return sum(float(a > b) + 0.5 * (a == b) for a in good for b in bad), len(good) * len(bad)


def weighted_vote(classes: Sequence[int | None], weights: Sequence[float | None]) -> int | None:
    """The place of the first answer of the class with the largest sum of weights; None where nobody answered.

    Args:
        classes: of :func:`harness.votes.classes`; None for no answer.
        weights: of each answer; None counts 0.
    """
    sums: dict[int, float] = {}
    for number, weight in zip(classes, weights, strict=True):
        if number is not None:
            sums[number] = sums.get(number, 0.0) + (weight or 0.0)
    if not sums:
        return None
    return list(classes).index(max(sums, key=lambda number: sums[number]))
