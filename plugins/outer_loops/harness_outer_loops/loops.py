"""Outer loops that learn from every candidate: ``rloo`` and ``grpo`` from advantages, ``dpo`` from best against worst.

They spend what ReST-EM spends (the same contexts, candidates and trials a round) and train the same updater in the same
way: slot ``policy``, which goes on with one adapter from round to round. Its setting ``loss`` must be the loop's
(:mod:`harness.engine.losses` has the formulas); the advantages are those of :mod:`harness.trainers.advantages`.
"""

from __future__ import annotations

import abc
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

from harness_seal.restem import batch, measured
from pydantic import Field

from harness.api import (
    EditAsk,
    Group,
    Preference,
    Rollout,
    Round,
    SelfEdit,
    Session,
    StartAs,
    State,
    Trainer,
    UpdateJob,
)
from harness.errors import RunError, UsageError
from harness.trainers.advantages import Baseline, Scale, group_advantages

_log = logging.getLogger("harness")
Positive = Annotated[int, Field(ge=1)]
_Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class LoopSettings:
    """The size of a round."""

    rounds: Positive = 2
    """Checkpoints: each writes, rates and trains."""
    contexts: Positive = 50
    """Training contexts per round; each round takes the next ones, and starts over where there are no more."""
    samples: Positive = 5
    """Candidate edits per context."""
    start_as: StartAs = "continue"
    """What a round makes of the policy that it trains on; see :attr:`harness.api.UpdateJob.start_as`."""


class PolicyLoop(Trainer):
    """Write, reward, train the policy; what it is trained on is a subclass's matter."""

    Settings: ClassVar[type[LoopSettings]] = LoopSettings
    name: ClassVar[str]

    def __init__(self, settings: LoopSettings) -> None:
        self._settings = settings
        self.rounds = settings.rounds

    def candidates(self, contexts: int, /) -> int:
        return self._settings.rounds * min(self._settings.contexts, contexts) * self._settings.samples

    @abc.abstractmethod
    def learnt(self, groups: Sequence[Group], start: State, s: Session, /) -> tuple[list[SelfEdit], dict[str, Any]]:
        """The edits, with the data that the policy learns of them in place of their own, and what to report.

        ``start`` is the policy that the loop began with.
        """

    def run(self, s: Session, /) -> Iterator[Round]:
        """One checkpoint per round.

        Raises:
            UsageError: there are no training contexts.
            RunError: the policy's update was lost, or changed nothing.
        """
        own = self._settings
        train = s.episodes("train")
        if not train:
            raise UsageError(f"trainer {self.name!r} needs training contexts: the task's train split is empty")
        start = s.roles["teacher"]
        for index in range(own.rounds):
            asks = [
                EditAsk(episode, s.roles["teacher"], own.samples, s.seed("propose", index, episode.id))
                for episode in batch(train, index, own.contexts)
            ]
            groups = s.reward(s.propose("teacher", asks))
            edits, said = self.learnt(groups, start, s)
            metrics = {**measured(groups), **said}
            if edits:
                metrics |= self._train(edits, index, s)
            else:
                metrics["note"] = "nothing to learn: no context's candidates differ in their rewards"
                _log.warning("%s, round %d: %s", self.name, index, metrics["note"])
            yield Round(index, dict(s.roles), metrics)

    def _train(self, edits: Sequence[SelfEdit], index: int, s: Session) -> dict[str, Any]:
        before = s.roles["teacher"]
        start_as = self._settings.start_as if before.adapters else "stack"
        job = UpdateJob(f"round-{index}", before, tuple(edits), s.seed("policy", index), start_as=start_as)
        [done] = s.update("policy", [job])
        if done.status == "error":
            raise RunError(f"{self.name}, round {index}: the update of the policy was lost: {done.reason}")
        if done.state is None:
            _log.warning("%s, round %d: the update of the policy failed: %s", self.name, index, done.reason)
            return {"note": f"the update of the policy failed, it stays as it was: {done.reason}"}
        if done.state == before:
            raise RunError(f"{self.name}, round {index}: the update left the policy's weights as they were, to the bit")
        s.roles["teacher"] = done.state
        if index and before not in s.roles.values():
            s.release([before])  # the core keeps what may still be chosen
        return {f"policy_{name}": done.log[name] for name in ("steps", "loss", "left_out") if name in done.log}


@dataclass(frozen=True)
class AdvantageSettings(LoopSettings):
    """How rewards become advantages."""

    scale: Scale = "off"
    """Whether advantages are divided by the standard deviation of their ``group`` or of the ``batch``."""
    kl: _Weight = 0.0
    """Reward taken off for each nat by which an edit is likelier under the policy that wrote it than under the policy
    of the loop's start (the estimate k1 of the divergence, of the whole edit). The divergence from the round's start
    is a setting of the loss."""


class _FromAdvantages(PolicyLoop):
    """REINFORCE with a baseline from the other candidates."""

    Settings: ClassVar[type[AdvantageSettings]] = AdvantageSettings
    baseline: ClassVar[Baseline]
    _settings: AdvantageSettings

    def learnt(self, groups: Sequence[Group], start: State, s: Session, /) -> tuple[list[SelfEdit], dict[str, Any]]:
        rewards = [[reward.value for reward in group.rewards] for group in groups]
        if self._settings.kl and s.roles["teacher"] != start:
            rewards = _less_divergence(rewards, groups, start, self._settings.kl, s)
        rows = group_advantages(rewards, baseline=self.baseline, scale=self._settings.scale)
        edits = [
            rolled
            for group, row in zip(groups, rows, strict=True)
            for edit, advantage in zip(group.edits, row, strict=True)
            if advantage is not None and (rolled := _rollout(edit, advantage)) is not None
        ]
        tied = sum(not any(row) for row in rows)
        if tied == len(rows):
            return [], {"tied_contexts": tied}
        return edits, {"tied_contexts": tied, "learnt": len(edits)}


class RlooLoop(_FromAdvantages):
    """REINFORCE leave-one-out (Ahmadian et al. 2024, arXiv 2402.14740): an edit's ratio is that of the whole text."""

    name = "rloo"
    baseline = "others"


class GrpoLoop(_FromAdvantages):
    """Group-relative policy optimisation (Shao et al. 2024, arXiv 2402.03300), without its division by the group's
    standard deviation unless ``scale`` asks for it (Liu et al. 2025, arXiv 2503.20783)."""

    name = "grpo"
    baseline = "mean"


class DpoLoop(PolicyLoop):
    """Direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290): each context's best edit against its
    worst.

    The reference is the policy that the round starts from. A context whose candidates are tied gives no pair.
    """

    name = "dpo"

    def learnt(self, groups: Sequence[Group], start: State, s: Session, /) -> tuple[list[SelfEdit], dict[str, Any]]:
        pairs = [pair for group in groups if (pair := _preferred(group)) is not None]
        return pairs, {"pairs": len(pairs)}


def _rollout(edit: SelfEdit, advantage: float) -> SelfEdit | None:
    """The edit as the policy's rollouts; None where nothing was written. One that failed as an edit is learnt from
    too."""
    written = [
        action for action in edit.actions if action.finish in ("stop", "length") and (action.tokens or action.text)
    ]
    if not written:
        return None
    data = tuple(Rollout(action, edit.episode, advantage) for action in written)
    return replace(edit, data=data, settings={}, status="ok", reason="")


def _preferred(group: Group) -> SelfEdit | None:
    """The best edit, with the preference over the worst as its data."""
    known = [
        (reward.value, edit)
        for reward, edit in zip(group.rewards, group.edits, strict=True)
        if reward.value is not None and edit.actions and edit.actions[0].text.strip()
    ]
    if len(known) < 2:
        return None
    (worst, bad), (best, good) = min(known, key=lambda one: one[0]), max(known, key=lambda one: one[0])
    if best <= worst or good.status != "ok":
        return None
    chosen = good.actions[0]
    pair = Preference(chosen.request.prompt, chosen.text, bad.actions[0].text)
    return replace(good, data=(pair,), settings={})


def _less_divergence(
    rewards: Sequence[Sequence[float | None]], groups: Sequence[Group], start: State, weight: float, s: Session
) -> list[list[float | None]]:
    """The rewards with ``weight`` times log(p / p of the start) taken off, p being the probability of all that was
    written."""
    texts = [(action.request, action.text) for group in groups for edit in group.edits for action in edit.actions]
    lm = s.lm("teacher")
    now = lm.logprobs([(request.state, request.prompt, text) for request, text in texts])
    then = lm.logprobs([(start, request.prompt, text) for request, text in texts])
    gaps = iter([sum(a) - sum(b) for a, b in zip(now, then, strict=True)])
    out = []
    for group, row in zip(groups, rewards, strict=True):
        away = [sum(next(gaps) for _ in edit.actions) for edit in group.edits]
        out.append([None if r is None else r - weight * gap for r, gap in zip(row, away, strict=True)])
    return out
