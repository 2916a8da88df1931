"""The reward of SEAL: apply the edit, ask the passage's questions, forget the edit (section 3.1, equation 1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Annotated, Literal

from pydantic import Field

from harness.api import Ask, Group, Reward, RewardFunction, Score, Session, TrialJob, UpdateJob


@dataclass(frozen=True)
class TrialSettings:
    """How often an edit is tried, and what the reward measures."""

    inner_seeds: Annotated[int, Field(ge=1)] = 3
    """Updates per edit; the reward is the mean over them."""
    of: Literal["accuracy", "gain"] = "accuracy"
    """``accuracy`` after the update, as in the reference; ``gain`` subtracts the accuracy before it."""


class Trial(RewardFunction):
    """Mean accuracy of the student over inner updates with different seeds.

    An edit whose update fails counts as 0. A lost inner run makes the reward an ``error``: a mean over fewer runs
    would be another quantity. ``measures`` holds ``runs`` (accuracy by inner seed), ``baseline`` (accuracy
    before the update) and ``gain``, whatever the reward is.
    """

    Settings = TrialSettings

    def __init__(self, settings: TrialSettings) -> None:
        self._settings = settings
        self.updates_per_edit = settings.inner_seeds

    def score(self, groups: Sequence[Group], s: Session, /) -> Sequence[Sequence[Reward]]:
        """One reward per candidate, in order; every trial of the round is one bulk call."""
        student = s.roles["student"]
        episodes = [group.ask.episode for group in groups]
        baselines = [_accuracy(row) for row in s.evaluate([Ask(student, episode) for episode in episodes])]
        jobs = [
            TrialJob(UpdateJob(f"{edit.id}#{run}", student, (edit,), s.seed("inner", edit.id, run)), (episode,))
            for group, episode in zip(groups, episodes, strict=True)
            for edit in group.edits
            for run in range(self._settings.inner_seeds)
        ]
        runs = iter([_accuracy(row) for row in s.trial(jobs)])
        return [
            [self._reward(runs, baseline) for _ in group.edits]
            for group, baseline in zip(groups, baselines, strict=True)
        ]

    def _reward(self, runs: Iterator[float | None], baseline: float | None) -> Reward:
        tried = [next(runs) for _ in range(self._settings.inner_seeds)]
        mine = [value for value in tried if value is not None]
        if len(mine) < len(tried) or baseline is None:
            what = "the answers before the update were" if baseline is None else "an inner run was"
            return Reward(None, "error", {"runs": tried, "baseline": baseline, "reason": f"{what} lost"})
        accuracy = fmean(mine)
        gain = accuracy - baseline
        measures = {"runs": tried, "baseline": baseline, "gain": gain}
        return Reward(accuracy if self._settings.of == "accuracy" else gain, measures=measures)


def _accuracy(scores: Sequence[Score]) -> float | None:
    """Mean over the queries; None if a score is missing, or there are no queries."""
    values = [score.value for score in scores if score.value is not None]
    return fmean(values) if values and len(values) == len(scores) else None
