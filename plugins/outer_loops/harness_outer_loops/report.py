"""The trainer ``reward-report``: it trains nothing, and measures what the slot ``reward`` is worth on training
contexts."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from harness.api import EditAsk, Group, Round, Session, Trainer, TrialJob, UpdateJob
from harness.errors import UsageError
from harness_outer_loops import analysis
from harness_outer_loops.screen import edit_text

Positive = Annotated[int, Field(ge=1)]
SEEDS = (1, 3, 9)


@dataclass(frozen=True)
class RewardReportSettings:
    """How many candidates are rated, how often, and against how many updates."""

    contexts: Positive = 40
    """Contexts of the train split whose candidates are rated."""
    samples: Annotated[int, Field(ge=2)] = 5
    """Candidate edits per context."""
    repeats: Positive = 3
    """How often the reward rates every candidate, with other seeds each time; from these its noise is known. 1 for a
    reward without seeds."""
    truth_seeds: Annotated[int, Field(ge=2)] = 6
    """Updates of every candidate by whose mean accuracy it is judged; none of them is the reward's."""
    texts: Annotated[int, Field(ge=0)] = 5
    """Candidates on which reward and truth differ most that are shown."""


class RewardReport(Trainer):
    """One round, whose metrics hold the report under ``reward_report``; the policy stays as it is.

    A candidate is left out, with its whole context, where its text failed, or a reward or a trial was lost.
    """

    Settings = RewardReportSettings
    rounds = 1

    def __init__(self, settings: RewardReportSettings) -> None:
        self._settings = settings

    def candidates(self, contexts: int, /) -> int:
        own = self._settings
        return min(contexts, own.contexts) * own.samples * (own.repeats + own.truth_seeds)

    def run(self, s: Session, /) -> Iterator[Round]:
        """
        Raises:
            UsageError: there are no training contexts.
        """
        own = self._settings
        episodes = s.episodes("train", own.contexts)
        if not episodes:
            raise UsageError("trainer 'reward-report' needs training contexts: the task's train split is empty")
        teacher = s.roles["teacher"]
        asks = [EditAsk(one, teacher, own.samples, s.seed("candidates", one.id)) for one in episodes]
        groups = [group for group in s.propose("teacher", asks) if len(group.edits) == own.samples]
        rated, seconds = [], []
        for repeat in range(own.repeats):
            # A reward draws its seeds from the edits' names, so that other names are other seeds.
            began = time.process_time()
            named = [_renamed(group, repeat) for group in groups]
            rated.append([[reward.value for reward in group.rewards] for group in s.reward(named)])
            seconds.append(_kept(s, f"reward-report/{repeat}", time.process_time() - began))
        truth = self._truth(groups, s)
        fine = [
            g for g, group in enumerate(groups)
            if all(edit.status == "ok" for edit in group.edits)
            and all(None not in one[g] for one in rated) and not any(None in row for row in truth[g])
        ]  # fmt: skip
        if not fine:
            yield Round(0, dict(s.roles), {"note": "no report: in no context could every candidate be rated"})
            return
        report = figures(
            np.array([[[one[g][c] for one in rated] for c in range(own.samples)] for g in fine], dtype=np.float64),
            np.array([truth[g] for g in fine], dtype=np.float64),
        )
        rates = sum(len(group.edits) for group in groups)
        report |= {"left_out": len(episodes) - len(fine), "cpu_seconds": fmean(seconds) / max(1, rates)}
        report["disagreements"] = self._disagreements(report.pop("furthest"), [groups[g] for g in fine])
        yield Round(0, dict(s.roles), {"reward_report": report})

    def _truth(self, groups: Sequence[Group], s: Session) -> list[list[list[float | None]]]:
        """Accuracy of every candidate after each update, by group."""
        own, student = self._settings, s.roles["student"]
        jobs = [
            TrialJob(
                UpdateJob(f"{edit.id}@{run}", student, (edit,), s.seed("truth", edit.id, run)), (group.ask.episode,)
            )
            for group in groups
            for edit in group.edits
            for run in range(own.truth_seeds)
        ]
        values = iter(
            fmean([score.value or 0.0 for score in row]) if row and all(one.value is not None for one in row) else None
            for row in s.trial(jobs)
        )
        return [[[next(values) for _ in range(own.truth_seeds)] for _ in group.edits] for group in groups]

    def _disagreements(
        self, furthest: Sequence[tuple[int, int, float, float]], groups: Sequence[Group]
    ) -> list[dict[str, Any]]:
        return [
            {
                "edit": groups[g].edits[c].id,
                "reward": reward,
                "truth": truth,
                "text": edit_text(groups[g].edits[c]),
            }
            for g, c, reward, truth in furthest[: self._settings.texts]
        ]


def figures(reward: analysis.Array, truth: analysis.Array) -> dict[str, Any]:
    """The report of two tables ``[contexts, candidates, seeds]`` that share no seed, as JSON."""
    seeds = [n for n in SEEDS if n <= reward.shape[2]] or [1]
    best = analysis.best_pick(truth)
    picks = {n: analysis.picked(reward, truth, n, same_seeds=False) for n in seeds}
    return {
        "contexts": reward.shape[0],
        "candidates": reward.shape[1],
        "repeats": reward.shape[2],
        "truth_seeds": truth.shape[2],
        "reliability": {str(n): asdict(analysis.reliability(reward, n)) for n in SEEDS},
        "reliability_of_truth": asdict(analysis.reliability(truth, truth.shape[2])),
        "validity": asdict(analysis.validity(reward, truth, same_seeds=False)),
        "random": analysis.random_pick(truth),
        "best": best,
        "pick": {str(n): asdict(one) for n, one in picks.items()},
        "regret": {str(n): None if one.value is None else best - one.value for n, one in picks.items()},
        "furthest": analysis.disagreements(reward, truth, 50),
    }


def _renamed(group: Group, repeat: int) -> Group:
    return replace(group, edits=tuple(replace(edit, id=f"{edit.id}~{repeat}") for edit in group.edits))


def _kept(s: Session, name: str, seconds: float) -> float:
    """What it took when it was done, also where it is answered from the journal now."""
    before = s.keep(name)
    if before is None:
        s.keep(name, {"seconds": seconds})
        return seconds
    return float(before["seconds"])
