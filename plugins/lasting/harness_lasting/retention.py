"""The reward ``retention``: what an edit teaches, less what it makes the model forget.

SEAL's reward (arXiv 2506.10943, equation 1) tries an edit on the model as it is, where nothing of its own can be lost.
Here the model has just learnt other contexts of the round, so that a policy is paid for edits that leave room for them:

    reward = (R_own after - R_own before) - lambda * (R_others before - R_others after)

With ``forecast`` no others are learnt: the edit is tried on the model as it is, and in place of what others lose stands
how far this one update moves the model, KL(before || after) on texts that it wrote itself (after RL's Razor, arXiv
2509.04259, which measures the divergence on the new task):

    reward = (R_own after - R_own before) - lambda * KL
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Annotated

from pydantic import Field

from harness.api import (
    Ask,
    Episode,
    Group,
    Prompt,
    Request,
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
from harness.errors import RunError, UsageError


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
    forecast: Annotated[int, Field(ge=0)] = field(default=0, metadata={"added_later": True})
    """Texts of the model's own on which a forecast is measured, in nats per token; 0 tries the others instead."""
    forecast_tokens: Annotated[int, Field(ge=1)] = field(default=48, metadata={"added_later": True})
    """Most tokens of such a text, which goes on from the title of a context of the train split."""


class Retention(RewardFunction):
    """``measures`` holds ``gain`` and ``lost`` (or the forecast ``kl``), the means over inner seeds, the rewards
    (``runs``) and losses (``lost_runs``, ``kl_runs``) seed by seed, and how many ``others`` were learnt before.

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
        if own.forecast:
            return self._forecast(groups, s)
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

    def _forecast(self, groups: Sequence[Group], s: Session) -> list[list[Reward]]:
        """The rewards without others: one update of the student per run, asked about its own context and measured."""
        own, student = self._settings, s.roles["student"]
        before = [_pair(row, group.ask.episode) for group, row in zip(
            groups, s.evaluate([Ask(student, group.ask.episode) for group in groups], name=own.evaluator), strict=True
        )]  # fmt: skip
        texts = self._texts(student, s)
        stood = s.lm(student).logprobs([(student, *one) for one in texts])
        every = [(group.ask.episode, edit) for group in groups for edit in group.edits]
        jobs = [
            UpdateJob(f"{edit.id}#{run}", student, (edit,), s.seed("inner", edit.id, run))
            for _, edit in every
            for run in range(own.inner_seeds)
        ]
        updated = s.update("updater", jobs)
        states = [one.state for one in updated]
        made = [state for state in states if state is not None]
        episodes = [episode for episode, _ in every for _ in range(own.inner_seeds)]
        asks = [Ask(state, episode) for state, episode in zip(states, episodes, strict=True) if state]
        after = iter(s.evaluate(asks, name=own.evaluator))
        now = iter(s.lm(student).logprobs([(state, *one) for state in made for one in texts]))
        runs: list[tuple[float, float] | None] = []
        for one, episode in zip(updated, episodes, strict=True):
            if one.state is None:
                runs.append((0.0, 0.0) if one.status == "failed" else None)
                continue
            pair, moved = _pair(next(after), episode), fmean(_divergence(row, next(now)) for row in stood)
            runs.append(None if pair is None else (pair[0], moved))
        s.release(made)
        rest = iter(runs)
        return [
            [self._of_runs([next(rest) for _ in range(own.inner_seeds)], known, "kl") for _ in group.edits]
            for group, known in zip(groups, before, strict=True)
        ]

    def _texts(self, student: State, s: Session) -> list[tuple[Prompt, str]]:
        """What the student writes after titles: on texts drawn from it the log-ratio estimates the divergence."""
        own = self._settings
        titles = [title for episode in s.episodes("train") if (title := str(episode.context.get("title", "")))]
        asks = [
            Request(student, f"{titles[i % len(titles)]}\n", temperature=1.0, max_tokens=own.forecast_tokens,
                    seed=s.seed("neutral", i))
            for i in range(own.forecast if titles else 0)
        ]  # fmt: skip
        drawn = [completion for (completion,) in s.generate(asks)] if asks else []
        lost = next((one for one in drawn if one.finish == "error"), None)
        if lost is not None:
            raise RunError(f"reward retention: a text to forecast by was lost: {lost.reason or 'no reason given'}")
        texts = [(ask.prompt, one.text) for ask, one in zip(asks, drawn, strict=True) if one.text.strip()]
        if not texts:
            raise UsageError(
                "reward retention: there is no text to forecast by, as the train split has no titles or the model "
                "writes nothing after them; set reward.forecast to 0"
            )
        return texts

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
        runs: list[tuple[float, float] | None] = []
        for scores in rows:
            after = _pair(scores, asked[0])
            failed = all(score.status == "failed" for score in scores)
            runs.append(after and (after[0], 0.0 if failed else before[1] - after[1]))
        return self._of_runs(runs, before, "lost", others=len(asked) - 1)

    def _of_runs(
        self, runs: Sequence[tuple[float, float] | None], before: tuple[float, float] | None, cost: str, **more: int
    ) -> Reward:
        """The reward of an edit whose runs left so much of its own context right, at such a cost."""
        if before is None:
            return Reward(None, "error", {"reason": "an answer before the update was lost"})
        known = [(after - before[0], gone) for after, gone in filter(None, runs)]
        if len(known) < len(runs):
            return Reward(None, "error", {"reason": "an inner run was lost"})
        gain, gone = (fmean(one[side] for one in known) for side in (0, 1))
        rewards = [gained - self._settings.weight * spent for gained, spent in known]
        measures = {"gain": gain, cost: gone, "runs": rewards, f"{cost}_runs": [spent for _, spent in known], **more}
        return Reward(fmean(rewards), measures=measures)


def _divergence(before: Sequence[float], now: Sequence[float]) -> float:
    """The mean log-ratio per token of a text that was drawn from the model before."""
    return fmean(a - b for a, b in zip(before, now, strict=True))


def _pair(scores: Sequence[Score], own: Episode) -> tuple[float, float] | None:
    """Means over the queries of the own context, and over those of the others; None where one is missing, 0 where there
    are no others."""
    sides = [[score.value for score in scores if (score.episode == own.id) == mine] for mine in (True, False)]
    known = [[value for value in side if value is not None] for side in sides]
    if not known[0] or any(len(side) != len(every) for side, every in zip(known, sides, strict=True)):
        return None
    return fmean(known[0]), fmean(known[1]) if known[1] else 0.0
