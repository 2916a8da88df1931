"""ReST-EM: sample edits, try them, train the policy on the ones that worked (SEAL, section 3.1, algorithm 1)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Annotated, Any

from pydantic import Field

from harness.api import (
    EditAsk,
    Episode,
    Example,
    Group,
    Reward,
    Round,
    SelfEdit,
    Session,
    StartAs,
    Trainer,
    UpdateJob,
)
from harness.errors import RunError, UsageError
from harness_seal.selection import Rule, best, improving, positive

_log = logging.getLogger("harness")
Positive = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class RestEMSettings:
    """The size of a round, and which edits it keeps."""

    rounds: Positive = 2
    """Checkpoints: each writes, rates, selects and trains."""
    contexts: Positive = 50
    """Training contexts per round; each round takes the next ones, and starts over after the last one."""
    samples: Positive = 5
    """Candidate edits per context."""
    select: Rule = "best"
    """``best``: the best candidate of each context, as in the reference; ``improving``: equation 2 of the paper;
    ``positive``: every candidate with a reward above 0, as the reference does on ARC."""
    start_as: StartAs = "merge"
    """What a round does with the policy before it trains: ``merge``, as in the reference, merges the last round's
    adapter into the model and trains a fresh one; ``continue``, ``fold`` or ``stack`` are those of
    :attr:`harness.api.UpdateJob.start_as`. The first round always trains a fresh adapter if the model has none."""


class RestEM(Trainer):
    """The policy (role ``teacher``) is trained on its own best edits, by the updater in the slot ``policy``."""

    Settings = RestEMSettings

    def __init__(self, settings: RestEMSettings) -> None:
        self._settings = settings
        self.rounds = settings.rounds

    def candidates(self, contexts: int, /) -> int:
        return self._settings.rounds * min(self._settings.contexts, contexts) * self._settings.samples

    def run(self, s: Session, /) -> Iterator[Round]:
        """One checkpoint per round.

        Raises:
            UsageError: there are no training contexts, or ``improving`` with a reward that reports no baseline.
            RunError: the outer update was lost.
        """
        train = s.episodes("train")
        if not train:
            raise UsageError("trainer 'restem' needs training contexts: the task's train split is empty")
        for index in range(self._settings.rounds):
            asks = [
                EditAsk(episode, s.roles["teacher"], self._settings.samples, s.seed("propose", index, episode.id))
                for episode in batch(train, index, self._settings.contexts)
            ]
            groups = s.reward(s.propose("teacher", asks))
            kept = [edit for group in groups for edit in self._selected(group)]
            metrics = {**measured(groups), "kept": len(kept)}
            if kept:
                metrics |= self._train(kept, index, s)
            else:
                metrics["note"] = "nothing was kept: the policy stays as it was"
                _log.warning("restem, round %d: nothing was kept: the policy stays as it was", index)
            yield Round(index, dict(s.roles), metrics)

    def _selected(self, group: Group) -> list[SelfEdit]:
        """The edits of one context to train on; failed ones are never among them."""
        rewards = [
            reward.value if edit.status == "ok" else None
            for edit, reward in zip(group.edits, group.rewards, strict=True)
        ]
        if self._settings.select == "best":
            return [group.edits[index] for index in best(rewards)]
        if self._settings.select == "positive":
            return [group.edits[index] for index in positive(rewards)]
        gains = [
            _gain(reward) if value is not None else None for value, reward in zip(rewards, group.rewards, strict=True)
        ]
        return [group.edits[index] for index in improving(gains)]

    def _train(self, kept: Sequence[SelfEdit], index: int, s: Session) -> dict[str, Any]:
        """Supervised fine-tuning of the policy on (prompt, edit), the loss on the edit alone."""
        # An edit's own settings are for the update that it describes, not for this one.
        written = tuple(
            replace(edit, data=tuple(Example(one.request.prompt, one.text) for one in edit.actions), settings={})
            for edit in kept
        )
        before = s.roles["teacher"]
        start_as = self._settings.start_as if before.adapters else "stack"
        job = UpdateJob(f"round-{index}", before, written, s.seed("policy", index), start_as=start_as)
        [done] = s.update("policy", [job])
        if done.status == "error":
            raise RunError(f"restem, round {index}: the update of the policy was lost: {done.reason}")
        if done.state is None:
            _log.warning("restem, round %d: the update of the policy failed: %s", index, done.reason)
            return {"note": f"the update of the policy failed, it stays as it was: {done.reason}"}
        s.roles["teacher"] = done.state
        if index and before not in s.roles.values():
            s.release([before])  # the core keeps the states that may still be chosen
        return {f"policy_{name}": done.log[name] for name in ("steps", "loss", "left_out") if name in done.log}


def batch(train: Sequence[Episode], index: int, size: int) -> list[Episode]:
    """The contexts of a round: the next ones in the split's order, none twice in a round."""
    size = min(size, len(train))
    return [train[(index * size + offset) % len(train)] for offset in range(size)]


def _gain(reward: Reward) -> float:
    gain = reward.measures.get("gain")
    if not isinstance(gain, (int, float)):
        raise UsageError(
            "trainer.select 'improving' needs a reward that reports the gain over the untouched student: 'trial'"
        )
    return gain


def measured(groups: Sequence[Group]) -> dict[str, Any]:
    """The metrics of a round's rewards. Means are over contexts, so that each context counts the same."""
    from harness.stats import reliability

    edits = [edit for group in groups for edit in group.edits]
    values = [[reward.value for reward in group.rewards if reward.value is not None] for group in groups]
    values = [mine for mine in values if mine]
    runs = [
        [reward.measures.get("runs", ()) for reward in group.rewards if reward.value is not None] for group in groups
    ]
    metrics: dict[str, Any] = {
        "contexts": len(groups),
        "candidates": len(edits),
        "failed": sum(edit.status == "failed" for edit in edits),
        "lost": sum(reward.value is None for group in groups for reward in group.rewards),
        "tied": sum(mine.count(max(mine)) > 1 for mine in values),
    }
    if values:
        metrics["reward_mean"] = fmean(map(fmean, values))
        metrics["reward_best"] = fmean(map(max, values))
    trusted = reliability(runs)
    if trusted is not None:
        interval = trusted.interval
        metrics["reliability"] = {"value": trusted.value, "low": interval.low, "high": interval.high}
    return metrics
