"""The reward ``retention``: what an edit teaches, less what it makes the model forget.

SEAL's reward (arXiv 2506.10943, equation 1) tries an edit on the model as it is, where nothing of its own can be lost.
Here the model has just learnt other contexts of the round, so that a policy is paid for edits that leave room for them:

    reward = (R_own after - R_own before) - lambda * (R_others before - R_others after)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Annotated

from pydantic import Field

from harness.api import (
    Ask,
    Episode,
    Group,
    Reward,
    RewardFunction,
    Score,
    SelfEdit,
    Session,
    StartAs,
    State,
    TrialJob,
    UpdateJob,
)


@dataclass(frozen=True)
class RetentionSettings:
    """How much forgetting costs, and how it is measured."""

    weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    """Lambda: 0 pays for what is learnt alone."""
    others: Annotated[int, Field(ge=1)] = 2
    """Contexts that the model has learnt before the edit is tried: the next ones of the round, a candidate of each."""
    inner_seeds: Annotated[int, Field(ge=1)] = 1
    """Updates of every edit."""
    evaluator: str = "evaluator"
    """Slot of the evaluator that asks; one that says how probable answers are tells more candidates apart."""
    start_as: StartAs = "stack"
    """What the tried update makes of the one that taught the others; see :attr:`harness.api.UpdateJob.start_as`."""


class Retention(RewardFunction):
    """``measures`` holds ``gain`` and ``lost``, the means over inner seeds, the rewards (``runs``) and losses
    (``lost_runs``) seed by seed, and how many ``others`` were learnt before.

    An edit whose update fails gains nothing and loses nothing but what was known of its own context. Where an update
    or an answer was lost, the reward is an ``error``.
    """

    Settings = RetentionSettings

    def __init__(self, settings: RetentionSettings) -> None:
        self._settings = settings
        self.updates_per_edit = settings.inner_seeds

    def score(self, groups: Sequence[Group], s: Session, /) -> Sequence[Sequence[Reward]]:
        """One reward per candidate, in order. A context without others in its round has nothing to lose."""
        own = self._settings
        student = s.roles["student"]
        others = [self._others(groups, place) for place in range(len(groups))]
        jobs = {
            place: UpdateJob(f"before/{place}", student, tuple(mine), s.seed("before", *(edit.id for edit in mine)))
            for place, mine in enumerate(others)
            if mine
        }
        learnt = dict(zip(jobs, s.update("updater", list(jobs.values())), strict=True))
        starts = [learnt[place].state if place in learnt else student for place in range(len(groups))]
        known = {group.ask.episode.id: group.ask.episode for group in groups}
        episodes = [
            (group.ask.episode, *(known[edit.episode] for edit in mine))
            for group, mine in zip(groups, others, strict=True)
        ]
        asks = [Ask(state, one) for state, mine in zip(starts, episodes, strict=True) if state for one in mine]
        before = iter(s.evaluate(asks, name=own.evaluator))
        stood = [
            _pair([score for _ in mine for score in next(before)], mine[0]) if state else None
            for state, mine in zip(starts, episodes, strict=True)
        ]
        tried = iter(s.trial(list(self._trials(groups, starts, episodes, s)), name=own.evaluator))
        out = []
        for group, mine, state, pair in zip(groups, episodes, starts, stood, strict=True):
            runs = [[next(tried) for _ in range(own.inner_seeds)] if state else [] for _ in group.edits]
            out.append([self._reward(rows, mine, pair) for rows in runs])
        s.release([state for state in starts if state and state.adapters != student.adapters])
        return out

    def _others(self, groups: Sequence[Group], place: int) -> list[SelfEdit]:
        """A usable candidate of each of the next contexts of the round, in a circle."""
        own = groups[place].ask.episode.id
        found: dict[str, SelfEdit] = {}
        for group in (*groups[place + 1 :], *groups[:place]):
            usable = next((edit for edit in group.edits if edit.status == "ok"), None)
            if usable is not None and usable.episode != own and len(found) < self._settings.others:
                found.setdefault(usable.episode, usable)
        return list(found.values())

    def _trials(
        self,
        groups: Sequence[Group],
        starts: Sequence[State | None],
        episodes: Sequence[tuple[Episode, ...]],
        s: Session,
    ) -> Iterator[TrialJob]:
        for group, start, mine in zip(groups, starts, episodes, strict=True):
            if start is None:
                continue
            how = self._settings.start_as if start.adapters != s.roles["student"].adapters else "stack"
            for edit in group.edits:
                for run in range(self._settings.inner_seeds):
                    seed = s.seed("inner", edit.id, run)
                    yield TrialJob(UpdateJob(f"{edit.id}#{run}", start, (edit,), seed, start_as=how), mine)

    def _reward(
        self, rows: Sequence[Sequence[Score]], asked: Sequence[Episode], before: tuple[float, float] | None
    ) -> Reward:
        if before is None:
            return Reward(None, "error", {"reason": "what was to be learnt before, or its answers, were lost"})
        runs: list[tuple[float, float]] = []
        for scores in rows:
            after = _pair(scores, asked[0])
            if after is None:
                return Reward(None, "error", {"reason": "an inner run was lost"})
            failed = all(score.status == "failed" for score in scores)
            runs.append((after[0] - before[0], 0.0 if failed else before[1] - after[1]))
        gain, lost = (fmean(one[side] for one in runs) for side in (0, 1))
        rewards = [gained - self._settings.weight * gone for gained, gone in runs]
        measures = {"gain": gain, "lost": lost, "runs": rewards, "lost_runs": [gone for _, gone in runs],
                    "others": len(asked) - 1}  # fmt: skip
        return Reward(fmean(rewards), measures=measures)


def _pair(scores: Sequence[Score], own: Episode) -> tuple[float, float] | None:
    """Means over the queries of the own context, and over those of the others; None where one is missing, 0 where there
    are no others."""
    sides = [[score.value for score in scores if (score.episode == own.id) == mine] for mine in (True, False)]
    known = [[value for value in side if value is not None] for side in sides]
    if not known[0] or any(len(side) != len(every) for side, every in zip(known, sides, strict=True)):
        return None
    return fmean(known[0]), fmean(known[1]) if known[1] else 0.0
