"""TTRL (Zuo et al. 2025, arXiv 2504.16084): policy gradient with agreement with the majority as the reward."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from harness.api import Episode, Round, Session, Trainer
from harness.errors import UsageError
from harness.trainers.advantages import Scale, group_advantages
from harness_label_free.answering import Answered, Labels, Positive, Sampling, answered, labels, measured, votes
from harness_label_free.policy import rollouts, step


@dataclass(frozen=True)
class TtrlSettings:
    """The size of a step, and what is rewarded."""

    rounds: Positive = 3
    """Checkpoints."""
    steps: Positive = 10
    """Policy steps per round."""
    contexts: Positive = 8
    """Questions per step; the split is gone through in a new order again and again."""
    split: Literal["train", "test"] = "test"
    """``test``: the unlabelled test questions themselves (transductive); ``train``: others (inductive)."""
    samples: Positive = 64
    """Answers that vote."""
    trained: Positive = 32
    """Answers that are trained on: the first so many of those that vote."""
    temperature: float = 1.0
    """Sampling temperature; 0 is greedy decoding."""
    top_p: float = 1.0
    """Nucleus sampling: only the most probable tokens that together have this probability are drawn."""
    max_tokens: Positive = 128
    """New tokens per answer."""
    labels: Labels = "majority"
    """``random`` and ``oracle`` are controls."""
    vote: Literal["class", "string"] = "string"
    """The released code counts equal strings and rewards what means the same; ``class`` counts what means the same."""
    scale: Scale = "group"
    """Advantages are divided by the standard deviation of the ``group`` or the ``batch``, or not at all (``off``)."""


class Ttrl(Trainer):
    """Votes, rewards, trains (slot ``policy``), step by step; a round is a checkpoint."""

    Settings: ClassVar[type] = TtrlSettings
    name: ClassVar[str] = "ttrl"

    def __init__(self, settings: TtrlSettings) -> None:
        if settings.trained > settings.samples:
            raise UsageError(f"trainer.trained: {settings.trained} of {settings.samples} samples cannot be trained on")
        self._settings = settings
        self.rounds = settings.rounds

    def candidates(self, contexts: int, /) -> int:
        own = self._settings
        return own.rounds * own.steps * own.samples * min(own.contexts, contexts)

    def run(self, s: Session, /) -> Iterator[Round]:
        """One checkpoint per round.

        Raises:
            UsageError: the split is empty.
            RunError: answers or an update were lost.
        """
        own = self._settings
        episodes = s.episodes(own.split)
        if not episodes:
            raise UsageError(f"trainer {self.name!r} needs questions: the task's split {own.split!r} is empty")
        how = Sampling(own.samples, own.temperature, own.top_p, own.max_tokens)
        order = shuffled(episodes, own.contexts, s.seed(self.name, "order"))
        for index in range(own.rounds):
            known: dict[str, str] = {}
            gathered: list[dict[str, Any]] = []
            for place in range(index * own.steps, (index + 1) * own.steps):
                groups = answered(s, s.roles["teacher"], next(order), how, self.name, place)
                found = votes(s, groups, own.vote)
                wanted = labels(s, groups, own.labels, own.vote, self.name, place)
                known |= {g.query.id: label for g, label in zip(groups, wanted, strict=True) if label is not None}
                rewards = self.rewards(groups, wanted, s)
                gathered.append(measured(groups, found) | self.train(groups, rewards, place, s))
            s.diagnose(f"label, round {index + 1}", known)
            yield Round(index, dict(s.roles), averaged(gathered))

    def rewards(self, groups: Sequence[Answered], wanted: Sequence[str | None], s: Session) -> list[list[float | None]]:
        """1 for an answer that means the same as the label, else 0; of every sample."""
        return [[float(yes) for yes in group.agreeing(label, s)] for group, label in zip(groups, wanted, strict=True)]

    def train(
        self, groups: Sequence[Answered], rewards: Sequence[Sequence[float | None]], place: int, s: Session
    ) -> dict[str, Any]:
        """One step on the first samples of every group, whose mean and deviation are theirs alone."""
        own = self._settings
        trained = [list(row[: own.trained]) for row in rewards]
        advantages = group_advantages(trained, scale=own.scale)
        edits = [rollouts(group, row) for group, row in zip(groups, advantages, strict=True)]
        given = [reward for row in trained for reward in row if reward is not None]
        out: dict[str, Any] = {"tied": sum(edit is None for edit in edits) / max(1, len(edits))}
        if given:
            out["reward"] = sum(given) / len(given)
        return out | step(s, "teacher", "policy", edits, self.name, place)


def shuffled(episodes: Sequence[Episode], size: int, seed: int) -> Iterator[list[Episode]]:
    """Batches without end: every pass takes all episodes once, in an order of its own; none twice in a batch."""
    rng = random.Random(seed)
    size = min(size, len(episodes))
    queue: list[Episode] = []
    while True:
        while len(queue) < size:
            held = {episode.id for episode in queue}
            fresh = rng.sample(list(episodes), len(episodes))
            queue += [e for e in fresh if e.id not in held] + [e for e in fresh if e.id in held]
        yield queue[:size]
        queue = queue[size:]


def averaged(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means of a round's numbers over its steps, and what was said last."""
    names = dict.fromkeys(name for row in rows for name in row)
    out: dict[str, Any] = {}
    for name in names:
        values = [row[name] for row in rows if name in row]
        numbers = [value for value in values if isinstance(value, int | float)]
        out[name] = sum(numbers) / len(numbers) if numbers else values[-1]
    return out
