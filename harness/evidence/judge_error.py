"""The judge's own error in a row's figures: how far an offline judge is from the judge that it stands in for.

A judge that was fitted to recorded verdicts ships the mean and the standard deviation of its bias over published
arms, each judged by a fit that saw neither the arm nor the titles (``harness judge train``). A new arm's bias is one
more draw from these, so its 95% range is that of Student's t with one degree of freedom less than there were arms:

- the interval of a score is moved by the mean bias and widened by that range, so that it speaks of the score which the
  reference judge would have given; the score itself stays as it was graded;
- the mean cancels from the difference of two rows graded by one judge; the two arms' own deviations do not.

String measures (``exact``, ``f1``) stand in for nobody and have no such error. Gates compare a row with itself, whose
bias is the same on either side, and their intervals are not widened. Inputs and results are fractions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import sqrt
from statistics import NormalDist, fmean, stdev

from harness import stats
from harness.evidence.result import Row
from harness.judges.base import OFFLINE
from harness.judges.offline import Error, shipped
from harness.stats import student


def of_row(row: Row) -> Error | None:
    """The measured error of the judge that graded a row; None where it is exact, remote, or was never measured."""
    name = row.conditions.get("metric")
    return shipped(str(name)).error if name in OFFLINE else None


def note(row: Row) -> str:
    """A note on the error of a row's judge; "" where the judge stands in for no other."""
    error = of_row(row)
    if error is None:
        return ""
    counts = f"{abs(100 * error.bias):.1f} points {'fewer' if error.bias < 0 else 'more'}"
    return (
        f"{row.conditions['metric']} counts {counts} than {error.reference} on average, with a standard deviation of "
        f"{100 * error.spread:.1f} between {error.arms} arms; the interval holds both"
    )


def notes(a: Row, b: Row) -> list[str]:
    """Notes on the error of the judges of two rows that are compared."""
    said = list(dict.fromkeys(text for row in (a, b) if (text := note(row))))
    reach = (
        f"differences up to {100 * limit(a, b):.1f} points may be the judge's own, which more contexts do not narrow"
    )
    return [*said, reach] if said else []


def limit(a: Row, b: Row) -> float:
    """The difference that the judge alone can make between two arms in 19 of 20 cases; 0 where it has no error."""
    known = [error for error in (of_row(a), of_row(b)) if error is not None]
    if not known:
        return 0.0
    return student.critical(stats.LEVEL, min(error.arms for error in known) - 1) * sqrt(
        sum(error.spread**2 for error in known)
    )


def of_score(score: float, interval: stats.Interval, row: Row) -> stats.Interval:
    """The interval of the score that the reference judge would have given, clipped to [0, 1].

    It is returned unchanged where the row's judge has no error.
    """
    error = of_row(row)
    if error is None:
        return interval
    extra = student.critical(stats.LEVEL, error.arms - 1) * error.spread * sqrt(1 + 1 / error.arms)
    centre = score - error.bias
    low, high = (sqrt(half**2 + extra**2) for half in (score - interval.low, interval.high - score))
    return stats.Interval(max(0.0, centre - low), min(1.0, centre + high))


def of_difference(found: stats.Difference, a: Row, b: Row) -> stats.Difference:
    """``b - a`` with the judges' error in its 95% interval and p-value; the difference itself stays as graded.

    In a forced comparison of rows by different judges the mean biases do not cancel, and they shift the interval.
    """
    errors = (of_row(a), of_row(b))
    if errors == (None, None):
        return found
    extra = limit(a, b)
    bias_a, bias_b = (error.bias if error else 0.0 for error in errors)
    centre = found.value - (bias_b - bias_a)
    low = sqrt((found.value - found.interval.low) ** 2 + extra**2)
    high = sqrt((found.interval.high - found.value) ** 2 + extra**2)
    towards_zero = low if centre > 0 else high
    normal = NormalDist()
    p = 2 * normal.cdf(-normal.inv_cdf(0.5 + stats.LEVEL / 2) * abs(centre) / towards_zero) if towards_zero else 1.0
    interval = stats.Interval(centre - low, centre + high)
    return replace(found, interval=interval, p=p if bias_a != bias_b else max(p, found.p))


def covers(biases: Sequence[float], bias: float) -> bool:
    """Whether ``bias`` is within the 95% range for a further arm that the other arms' biases give."""
    arms = len(biases)
    reach = student.critical(stats.LEVEL, arms - 1) * stdev(biases) * sqrt(1 + 1 / arms)
    return abs(bias - fmean(biases)) <= reach


def beyond(
    better: Sequence[Sequence[bool]], scores: Sequence[float], intervals: Sequence[stats.Interval], row: Row
) -> list[list[bool]]:
    """``better[i][j]`` (row i is better than row j beyond noise), kept where it is beyond the judge's spread as well.

    Args:
        intervals: each row's own, without the judge's error.
        row: any of them; all were graded by one judge.
    """
    flags = [list(one) for one in better]
    extra = limit(row, row)
    if not extra:
        return flags
    halves = [(one.high - one.low) / 2 for one in intervals]
    for i, ahead in enumerate(flags):
        for j, flag in enumerate(ahead):
            if flag:
                ahead[j] = scores[i] - scores[j] > sqrt(halves[i] ** 2 + halves[j] ** 2 + extra**2)
    return flags
