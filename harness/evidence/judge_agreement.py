"""How far a judge agrees with recorded verdicts, and whether it ranks arms in the same order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from harness import stats
from harness.errors import RunError
from harness.evidence.leaderboard.summary import tables
from harness.evidence.recorded import Recorded, Verdicts
from harness.evidence.result import ResultFile
from harness.judges.base import Answer, Judge
from harness.judges.offline import OfflineJudge


@dataclass(frozen=True)
class Calibration:
    """One judge against recorded verdicts, over distinct triples of question, gold and answer."""

    judge: str
    all: stats.Agreement
    held_out: stats.Agreement | None
    """On the titles that the judge was not trained on; None for a judge that was not trained on recorded verdicts."""
    seen: int
    """Answers on titles that the judge was trained on: agreement on these flatters it."""
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
        judge.name,
        _agreement(pairs),
        _agreement(fresh) if seen and fresh else None,
        len(pairs) - len(fresh),
        len(graded) - len(pairs),
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
    """Pairs of arms that the judge ranks in reverse: (ahead by the recorded verdicts, ahead by the judge)."""
    reversed_pairs = []
    for one, other in combinations(arms, 2):
        if (one.recorded - other.recorded) * (one.judged - other.judged) < 0:
            reversed_pairs.append((one.name, other.name) if one.recorded > other.recorded else (other.name, one.name))
    return reversed_pairs


def arms(recorded: Sequence[ResultFile], judged: Sequence[ResultFile]) -> list[list[RecordedAndJudged]]:
    """Groups of arms that were asked the same items.

    Args:
        recorded: result files under the recorded verdicts.
        judged: the same files under the judge, in the same order.
    """
    groups: dict[Any, list[RecordedAndJudged]] = {}
    for ours, theirs in zip(recorded, judged, strict=True):
        for one, other in zip(ours.rows, theirs.rows, strict=True):
            if one.scored:
                groups.setdefault((ours.task.items, one.protocol), []).append(
                    RecordedAndJudged(one.method, tables(ours.task, one).mean, tables(theirs.task, other).mean)
                )
    return [group for group in groups.values() if len(group) > 1]
