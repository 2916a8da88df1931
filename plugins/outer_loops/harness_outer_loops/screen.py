"""Rewards that need no update, or few: the edit in the prompt, and two rewards one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Annotated, ClassVar

from pydantic import Field

from harness.api import Ask, Group, Recipe, Reward, RewardFunction, SelfEdit, Session


@dataclass(frozen=True)
class ScreenSettings:
    """Who asks, and where the edit stands."""

    evaluator: str = "probability"
    """Slot of the evaluator that asks."""
    memory: str = "passage"
    """Key of the state's memory that the task's prompts show."""


class Screen(RewardFunction):
    """The answers of the untouched student with the edit, instead of the context, in its prompt.

    The text is what the edit's recipes ``lines`` hold, or what was written; nothing is trained. A failed edit counts as
    0. ``measures`` holds the ``baseline`` (an empty memory) and the ``gain`` over it.
    """

    Settings = ScreenSettings

    def __init__(self, settings: ScreenSettings) -> None:
        self._settings = settings

    def score(self, groups: Sequence[Group], s: Session, /) -> Sequence[Sequence[Reward]]:
        """One reward per candidate, in order."""
        student, name = s.roles["student"], self._settings.evaluator
        asks = [Ask(student, group.ask.episode) for group in groups]
        places = [(g, c) for g, group in enumerate(groups) for c, e in enumerate(group.edits) if e.status == "ok"]
        for g, c in places:
            memory = {**student.memory, self._settings.memory: edit_text(groups[g].edits[c])}
            asks.append(Ask(replace(student, memory=memory), groups[g].ask.episode))
        means = []
        for row in s.evaluate(asks, name=name):
            values = [score.value for score in row if score.value is not None]
            means.append(fmean(values) if values and len(values) == len(row) else None)
        found = dict(zip(places, means[len(groups) :], strict=True))
        return [
            [self._reward(edit, found.get((g, c)), means[g]) for c, edit in enumerate(group.edits)]
            for g, group in enumerate(groups)
        ]

    def _reward(self, edit: SelfEdit, value: float | None, baseline: float | None) -> Reward:
        if edit.status == "failed":
            return Reward(0.0, measures={"baseline": baseline})
        if edit.status == "error":
            return Reward(None, "error", {"reason": edit.reason or "the edit could not be written"})
        if value is None or baseline is None:
            return Reward(None, "error", {"baseline": baseline, "reason": "an answer was lost"})
        return Reward(value, measures={"baseline": baseline, "gain": value - baseline})


def edit_text(edit: SelfEdit) -> str:
    """What an edit says, in one paragraph."""
    own = [str(data.args.get("text", "")) for data in edit.data if isinstance(data, Recipe) and data.name == "lines"]
    return " ".join(" ".join(own or [action.text for action in edit.actions]).split())


@dataclass(frozen=True)
class ScreenThenTrialSettings:
    """How many candidates get past the first reward."""

    keep: Annotated[int, Field(ge=1)] = 2
    """Candidates of each context that the second reward rates."""


class ScreenThenTrial(RewardFunction):
    """Any two rewards in a row: the first rates every candidate, the second the best ``keep`` of each context.

    The others are given what the second would say, by the line through those of the round that have both (least
    squares, never falling), so that all are on one scale. ``measures`` holds ``screen``, ``trial`` where the candidate
    was tried, and else ``predicted``; then what the second reward measured.
    """

    Settings = ScreenThenTrialSettings
    nested: ClassVar[Mapping[str, str]] = {"screen": "reward", "trial": "reward"}

    def __init__(self, settings: ScreenThenTrialSettings, screen: RewardFunction, trial: RewardFunction) -> None:
        self._keep = settings.keep
        self._screen, self._trial = screen, trial
        self.updates_per_edit = screen.updates_per_edit + trial.updates_per_edit
        """As if all were kept: how many are is a matter of how many are drawn."""

    def score(self, groups: Sequence[Group], s: Session, /) -> Sequence[Sequence[Reward]]:
        """One reward per candidate, in order."""
        first = self._screen.score(groups, s)
        kept = [_best(row, group.edits, self._keep) for row, group in zip(first, groups, strict=True)]
        chosen = [
            replace(group, edits=tuple(group.edits[c] for c in mine)) for group, mine in zip(groups, kept, strict=True)
        ]
        second = [
            dict(zip(mine, row, strict=True)) for mine, row in zip(kept, self._trial.score(chosen, s), strict=True)
        ]
        pairs = [
            (screened.value, tried[c].value)
            for row, tried in zip(first, second, strict=True)
            for c, screened in enumerate(row)
            if c in tried
        ]
        known = [(a, b) for a, b in pairs if a is not None and b is not None]
        slope, level = _line(known)
        out = []
        for row, tried, group in zip(first, second, groups, strict=True):
            mine = []
            for c, (screened, edit) in enumerate(zip(row, group.edits, strict=True)):
                if c in tried:
                    own = {"screen": screened.value, "trial": tried[c].value, **tried[c].measures}
                    mine.append(replace(tried[c], measures=own))
                else:
                    mine.append(self._screened(screened, edit, slope, level, known=bool(known)))
            out.append(mine)
        return out

    def _screened(self, reward: Reward, edit: SelfEdit, slope: float, level: float, *, known: bool) -> Reward:
        """What a candidate is worth that was not tried."""
        if edit.status == "failed":
            return Reward(0.0, measures={"screen": reward.value})
        if reward.value is None or not known:
            reason = reward.measures.get("reason", "no candidate of the round could be tried")
            return Reward(None, "error", {"screen": reward.value, "reason": reason})
        predicted = level + slope * reward.value
        return Reward(predicted, measures={"screen": reward.value, "predicted": predicted})


def _best(rewards: Sequence[Reward], edits: Sequence[SelfEdit], keep: int) -> list[int]:
    """The candidates to try, in order of writing."""
    fine = [c for c, (r, e) in enumerate(zip(rewards, edits, strict=True)) if r.value is not None and e.status == "ok"]
    return sorted(sorted(fine, key=lambda c: -(rewards[c].value or 0.0))[:keep])


def _line(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Slope, at least 0, and level of the least-squares line."""
    if not pairs:
        return 0.0, 0.0
    x, y = fmean(a for a, _ in pairs), fmean(b for _, b in pairs)
    spread = sum((a - x) ** 2 for a, _ in pairs)
    slope = max(0.0, sum((a - x) * (b - y) for a, b in pairs) / spread) if spread else 0.0
    return slope, y - slope * x
