"""The trainer ``past``: a skill vector, learnt by reinforcement on top of facts that were just fine-tuned into weights.

PaST (arXiv 2601.11258, section 3): v = theta_RL - theta_SFT on a source domain, refined in rounds on disjoint parts of
it. Here every source context has an SFT adapter of its own, as a test context will, and v is the one adapter that is
trained by policy gradient on top of each of them in turn: what they have in common is how facts are used that an update
has just put there, and never a fact.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from harness.api import (
    Ask,
    Completion,
    EditAsk,
    Episode,
    Request,
    Rollout,
    Round,
    Score,
    SelfEdit,
    Session,
    State,
    Trainer,
    UpdateJob,
)
from harness.errors import RunError, UsageError
from harness.trainers.advantages import Scale, group_advantages

_log = logging.getLogger("harness")
Positive = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class PastSettings:
    """How much of the train split is used, and how answers are sampled and rewarded."""

    rounds: Positive = 2
    """Disjoint parts of the source contexts; each goes on with the vector of the one before it, and is a checkpoint."""
    contexts: Positive = 24
    """Source contexts per round."""
    passes: Positive = 2
    """Policy steps per context; a step is all questions of one context."""
    samples: Annotated[int, Field(ge=2)] = 8
    """Answers per question."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """Sampling temperature."""
    max_tokens: Positive = 16
    """New tokens per answer."""
    scale: Scale = "group"
    """Advantages are divided by the standard deviation of the ``group`` or the ``batch``, or not at all (``off``)."""
    reward: Literal["right", "random"] = "right"
    """``random`` is a control: the same rewards, dealt to a question's answers at random."""


class Past(Trainer):
    """Trains the role ``student``'s adapter, which the updater ``with-skill`` (slot ``updater``) adds to every update.

    The slot ``skill`` holds the updater of a policy step, the slot ``graded`` the evaluator ``sampled`` that says which
    answers are right: labels of the train split, which the card counts. Facts are learnt from the teacher's edits.
    """

    Settings: ClassVar[type[PastSettings]] = PastSettings

    def __init__(self, settings: PastSettings) -> None:
        self._settings = settings
        self.rounds = settings.rounds

    def candidates(self, contexts: int, /) -> int:
        own = self._settings
        used = min(contexts, own.rounds * own.contexts)
        return used * (1 + own.passes)

    def run(self, s: Session, /) -> Iterator[Round]:
        """One checkpoint per round.

        Raises:
            UsageError: the train split is empty, or its questions are not shown.
            RunError: an update or an answer was lost.
        """
        own = self._settings
        train = list(s.episodes("train"))
        if not any(episode.queries for episode in train):
            raise UsageError("trainer 'past' needs training contexts with questions: the task's train split has none")
        start = s.roles["student"]
        if start.adapters:
            raise UsageError("trainer 'past': the student begins with adapters, which would count as its skill vector")
        random.Random(s.seed("past", "order")).shuffle(train)
        size = min(own.contexts, max(1, len(train) // own.rounds))
        booked: list[State] = []
        for index in range(own.rounds):
            part = train[index * size : (index + 1) * size]
            metrics = self._round(index, part, booked, s) if part else {"note": "no contexts are left"}
            vector = s.roles["student"].adapters
            kept = next((state for state in reversed(booked) if vector and state.adapters[1:] == vector), None)
            gone = [state for state in booked if state is not kept]
            if gone:
                s.release(gone)  # the last state that holds the vector goes when the next round has another one
            booked = [kept] if kept else []
            yield Round(index, dict(s.roles), metrics)

    def _round(self, index: int, part: Sequence[Episode], booked: list[State], s: Session) -> dict[str, Any]:
        """Train the vector on a part of the source contexts; every state that was made is added to ``booked``."""
        own = self._settings
        taught = self._taught(index, part, booked, s)
        order = random.Random(s.seed("past", "steps", index))
        rewards, tied, steps = [], 0, 0
        for turn in range(own.passes):
            for episode in order.sample(list(part), len(part)):
                if episode.id not in taught:
                    continue
                facts = taught[episode.id]
                edit, given = self._rollouts(index, turn, episode, facts, s)
                rewards += given
                if edit is None:
                    tied += 1
                    continue
                steps += self._step(index, turn, edit, facts, booked, s)
        metrics: dict[str, Any] = {"contexts": len(taught), "steps": steps, "tied": tied}
        return metrics | ({"reward": fmean(rewards)} if rewards else {})

    def _taught(self, index: int, part: Sequence[Episode], booked: list[State], s: Session) -> dict[str, str]:
        """Context -> the adapter that learnt the teacher's edit of it."""
        teacher, student = s.roles["teacher"], s.roles["student"]
        groups = s.propose("teacher", [EditAsk(e, teacher, 1, s.seed("past", index, e.id)) for e in part])
        edits = [edit for group in groups for edit in group.edits if edit.status != "failed"]
        if lost := next((edit for edit in edits if edit.status == "error"), None):
            raise RunError(f"past: edit {lost.id!r} was lost: {lost.reason}")
        jobs = [UpdateJob(f"past/{edit.id}", student, (edit,), s.seed("past", "facts", edit.id)) for edit in edits]
        taught = {}
        for job, done in zip(jobs, s.update("updater", jobs) if jobs else (), strict=True):
            if done.status == "error":
                raise RunError(f"past: {job.id}: the update was lost: {done.reason}")
            if done.state is not None:
                booked.append(done.state)
                taught[job.edits[0].episode] = done.state.adapters[0]
        return taught

    def _rollouts(
        self, index: int, turn: int, episode: Episode, facts: str, s: Session
    ) -> tuple[SelfEdit | None, list[float]]:
        """Answers to a context's questions with their advantages, and all rewards; None where every group is tied."""
        own, student = self._settings, s.roles["student"]
        state = replace(student, adapters=(facts, *student.adapters))
        seed = s.seed("past", "answers", index, turn, episode.id)
        chat = "chat" in s.lm(state).can
        rows = s.generate(
            [
                Request(
                    state, s.task.prompt(query, state.memory, chat=chat), own.samples, own.temperature,
                    max_tokens=own.max_tokens, seed=seed,
                )
                for query in episode.queries
            ]
        )  # fmt: skip
        scores = s.evaluate([Ask(state, episode, 1, seed)], "graded")[0]
        rewards = [self._rewards(row, score, s) for row, score in zip(rows, scores, strict=True)]
        advantages = group_advantages(rewards, scale=own.scale)
        data = tuple(
            Rollout(completion, query.id, advantage)
            for query, row, mine in zip(episode.queries, rows, advantages, strict=True)
            for completion, advantage in zip(row, mine, strict=True)
            if advantage and completion.text
        )
        edit = SelfEdit(f"{episode.id}/past-{index}-{turn}", episode.id, data)
        return (edit if data else None), [value for row in rewards for value in row]

    def _rewards(self, row: Sequence[Completion], score: Score, s: Session) -> list[float]:
        if score.value is None:
            raise RunError(f"past: an answer to {score.query!r} was lost: {score.measures.get('reason', '')}")
        marks = score.measures.get("correct")
        if marks is None or score.answers != tuple(one.text.strip() for one in row):
            raise UsageError(
                "trainer past: the slot 'graded' must be the evaluator 'sampled' with the trainer's own samples, "
                "temperature and max_tokens"
            )
        values = [float(mark) for mark in marks]
        if self._settings.reward == "random":
            random.Random(s.seed("past", "random reward", score.query, *marks)).shuffle(values)
        return values

    def _step(self, index: int, turn: int, edit: SelfEdit, facts: str, booked: list[State], s: Session) -> int:
        """Train the vector on top of a context's facts; the number of steps taken."""
        student = s.roles["student"]
        start = replace(student, adapters=(facts, *student.adapters))
        start_as: Literal["continue", "stack"] = "continue" if student.adapters else "stack"
        seed = s.seed("past", "step", index, turn, edit.episode)
        [done] = s.update("skill", [UpdateJob(f"past/{edit.id}", start, (edit,), seed, start_as=start_as)])
        if done.status == "error":
            raise RunError(f"past: a policy step was lost: {done.reason}")
        if done.state is None:
            _log.warning("past: a policy step failed, the vector stays as it was: %s", done.reason)
            return 0
        booked.append(done.state)
        s.roles["student"] = replace(student, adapters=done.state.adapters[1:])
        return 1
