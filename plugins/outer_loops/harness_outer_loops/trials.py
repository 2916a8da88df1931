"""The reward ``trial-probability``: apply the edit, see how likely the accepted answers have become, forget the edit.

SEAL's reward (arXiv 2506.10943, section 3.1, equation 1) with another measure of the answers: an answer that is just
not the likeliest counts for what it is worth, so that fewer updates tell candidates apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Annotated, Literal

from pydantic import Field

from harness.api import Ask, Group, Reward, RewardFunction, Score, SelfEdit, Session, TrialJob, UpdateJob
from harness_outer_loops.screen import Screen, ScreenSettings


@dataclass(frozen=True)
class TrialProbabilitySettings:
    """How often an edit is tried, for how long, and who asks."""

    inner_seeds: Annotated[int, Field(ge=1)] = 1
    """Updates of every edit."""
    extra: Annotated[int, Field(ge=0)] = 0
    """Further updates per context, for the candidates that may still be its best: the better half gets one more each,
    then the better half of those, and the best two as often as there are updates left (successive halving, Karnin et
    al. 2013, with a fixed budget)."""
    epochs: Annotated[int, Field(ge=0)] = 0
    """Epochs of these updates, fewer than the updater's for an early exit; 0 is the updater's."""
    evaluator: str = "probability"
    """Slot of the evaluator that asks; with ``evaluator``, the accuracy of a plain trial."""
    of: Literal["value", "gain"] = "value"
    """What the evaluator says after the update; ``gain`` takes off what it said before."""
    screen: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """So many times what the reward ``screen`` says of the edit is added: it has no noise from updates, and so lends
    the sum of its reliability."""


class TrialProbability(RewardFunction):
    """The mean of an evaluator's values over updates with different seeds.

    An edit whose update fails counts as 0. A run that we lost makes the reward an ``error``. ``measures`` holds
    ``runs`` (by inner seed), ``baseline`` (before the update) and ``gain``, as the reward ``trial`` has them.
    """

    Settings = TrialProbabilitySettings

    def __init__(self, settings: TrialProbabilitySettings) -> None:
        self._settings = settings
        self.updates_per_edit = settings.inner_seeds

    def score(self, groups: Sequence[Group], s: Session, /) -> Sequence[Sequence[Reward]]:
        """One reward per candidate, in order; each wave of trials is one bulk call, and each trial is booked."""
        own = self._settings
        asks = [Ask(s.roles["student"], group.ask.episode) for group in groups]
        baselines = [_mean(row) for row in s.evaluate(asks, name=own.evaluator)]
        runs: list[list[list[float | None]]] = [[[] for _ in group.edits] for group in groups]
        everyone = [(g, c) for g, group in enumerate(groups) for c in range(len(group.edits))]
        self._try(everyone * own.inner_seeds, groups, runs, s)
        running = [_running(group.edits) for group in groups]
        left = [own.extra] * len(groups)
        while chosen := [(g, c) for g in range(len(groups)) for c in self.halve(running, g, runs[g], left)]:
            self._try(chosen, groups, runs, s)
        screened = self._screened(groups, s)
        return [
            [self._reward(tried, baseline, beside) for tried, beside in zip(mine, others, strict=True)]
            for mine, baseline, others in zip(runs, baselines, screened, strict=True)
        ]

    def _screened(self, groups: Sequence[Group], s: Session) -> Sequence[Sequence[Reward | None]]:
        if not self._settings.screen:
            return [[None] * len(group.edits) for group in groups]
        return Screen(ScreenSettings(evaluator=self._settings.evaluator)).score(groups, s)

    def _try(
        self,
        chosen: Sequence[tuple[int, int]],
        groups: Sequence[Group],
        runs: list[list[list[float | None]]],
        s: Session,
    ) -> None:
        """One more update of each of these candidates."""
        settings = {"epochs": self._settings.epochs} if self._settings.epochs else {}
        jobs: list[TrialJob] = []
        count: dict[tuple[int, int], int] = {}
        for g, c in chosen:
            edit = groups[g].edits[c]
            run = count[g, c] = count.get((g, c), len(runs[g][c]) - 1) + 1
            seed = s.seed("inner", edit.id, run)
            job = UpdateJob(f"{edit.id}#{run}", s.roles["student"], (edit,), seed, settings)
            jobs.append(TrialJob(job, (groups[g].ask.episode,)))
        for (g, c), scores in zip(chosen, s.trial(jobs, name=self._settings.evaluator), strict=True):
            runs[g][c].append(_mean(scores))

    def halve(
        self, running: list[list[int]], g: int, runs: Sequence[Sequence[float | None]], left: list[int]
    ) -> list[int]:
        """The candidates of a context that get one more update, best first; nothing where no update is left."""

        def so_far(c: int) -> float:
            known = [value for value in runs[c] if value is not None]
            return fmean(known) if known else -math.inf

        alive = sorted(running[g], key=lambda c: -so_far(c))[: max(2, math.ceil(len(running[g]) / 2))]
        running[g] = alive
        if len(alive) < 2:  # nothing to choose between
            return []
        chosen = alive[: left[g]]
        left[g] -= len(chosen)
        return chosen

    def _reward(self, tried: Sequence[float | None], baseline: float | None, screened: Reward | None) -> Reward:
        known = [value for value in tried if value is not None]
        if len(known) < len(tried) or baseline is None:
            what = "the answers before the update were" if baseline is None else "an inner run was"
            return Reward(None, "error", {"runs": tried, "baseline": baseline, "reason": f"{what} lost"})
        value = fmean(known)
        gain = value - baseline
        measures = {"runs": list(tried), "baseline": baseline, "gain": gain}
        mine = value if self._settings.of == "value" else gain
        if screened is None:
            return Reward(mine, measures=measures)
        if screened.value is None:
            return Reward(None, "error", {**measures, "reason": screened.measures.get("reason", "an answer was lost")})
        return Reward(mine + self._settings.screen * screened.value, measures={**measures, "screen": screened.value})


def _running(edits: Sequence[SelfEdit]) -> list[int]:
    """Candidates that may be a context's best: those that did not fail."""
    return [place for place, edit in enumerate(edits) if edit.status == "ok"]


def _mean(scores: Sequence[Score]) -> float | None:
    """Mean over the queries; None where one is missing, or where there is none."""
    values = [score.value for score in scores if score.value is not None]
    return fmean(values) if values and len(values) == len(scores) else None
