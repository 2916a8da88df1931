"""The trainer ``ace``: the offline protocol, a playbook from the questions of the train split (section 3)."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from harness.api import Ask, Episode, Request, Round, Score, Session, State, Trainer
from harness.errors import RunError, UsageError
from harness_ace.dialects import Case
from harness_ace.learning import Count, Learner, LearningSettings, Positive, described, gathered
from harness_ace.playbook import Tally, playbook_of


@dataclass(frozen=True)
class OfflineSettings(LearningSettings):
    """How often the train split is gone through, and when a playbook is kept."""

    epochs: Positive = 1
    """Times that the train split is gone through, in a new order each time."""
    batch: Positive = 1
    """Questions that are answered with the same playbook, and merged together in their order."""
    reflections: Positive = 3
    """Most rounds of reflection on a wrong answer: with the insight at hand the question is answered again, and while
    it stays wrong reflected on again. A right answer is reflected on once."""
    every: Positive = 100
    """Questions between two checkpoints, each of which is a round."""
    answer_temperature: Annotated[float, Field(ge=0)] = 0.0
    """Sampling temperature of the generator where feedback is hidden; otherwise the slot ``graded`` has its own."""
    answer_tokens: Positive = 4096
    """New tokens of its answers in that case."""
    validate: Count = 0
    """Questions of the validation split that every checkpoint is asked; 0 asks none."""
    keep: Literal["best", "last"] = "best"
    """Which checkpoint's playbook is kept: the ``best`` on validation, of equals the first, or the ``last``. Where
    nothing is validated it is the last."""


class Offline(Trainer):
    """Trains the memory of the role ``student``; its weights stay as they are.

    The generator is the student, asked by the evaluator in the slot ``graded`` (``sampled``, one sample). It also says
    whether the answer was right: one bit of a label per question, counted on the row.
    """

    Settings: ClassVar[type[OfflineSettings]] = OfflineSettings

    def __init__(self, settings: OfflineSettings) -> None:
        self._settings = settings
        self._learner = Learner(settings)

    def run(self, s: Session, /) -> Iterator[Round]:
        """One round per checkpoint; the last one holds the playbook that is kept.

        Raises:
            UsageError: the train split is empty, or its questions are not shown.
            RunError: an answer was lost.
        """
        own = self._settings
        train = [episode for episode in s.episodes("train") if episode.queries]
        if not train:
            raise UsageError("trainer 'ace' needs questions to learn from: the task's train split has none")
        order = [one for epoch in range(own.epochs) for one in _shuffled(train, s.seed("ace", "order", epoch))]
        tally, right, seen, since = Tally(), 0, 0, 0
        state = s.roles["student"]
        best, best_score = state, self._validated(state, s) if own.validate else None
        index = 0
        for at in range(0, len(order), own.batch):
            episodes = order[at : at + own.batch]
            state, hits = self._step(state, episodes, at, tally, s)
            right, seen, since = right + hits, seen + len(episodes), since + len(episodes)
            last = at + own.batch >= len(order)
            if since < own.every and not last:
                continue
            metrics: dict[str, Any] = {"questions": seen, **described(playbook_of(state.memory), tally)}
            if own.feedback == "bit":
                metrics["right"] = right / since
            if own.validate:
                score = metrics["validated"] = self._validated(state, s)
                if best_score is None or score > best_score:
                    best, best_score = state, score
            if not own.validate or own.keep == "last":
                best = state
            s.roles["student"] = best if last else state
            yield Round(index, dict(s.roles), metrics)
            index, since, right = index + 1, 0, 0

    def _step(self, state: State, episodes: Sequence[Episode], at: int, tally: Tally, s: Session) -> tuple[State, int]:
        """The state after learning from a batch, and how many of its first answers were right."""
        learner, own = self._learner, self._settings
        cases = self._answered(state, episodes, ("answer", at), s)
        hits = sum(bool(case.right) for case in cases)
        book = playbook_of(state.memory)
        insights, tags = gathered(cases, learner.reflect(cases, book, tally, s))
        by_case = {query.id: episode for episode in episodes for query in episode.queries}
        wrong = [case for case in cases if case.right is False]
        for turn in range(1, own.reflections):
            tried = [case for case in wrong if case.id in insights]
            if not tried:
                break
            again = []
            for case in tried:
                helped = learner.with_insight(state, insights[case.id][1])
                found_again = self._answered(helped, [by_case[case.id]], ("again", at, turn), s)
                again += [one for one in found_again if one.id == case.id]
            tally.add("asked again", len(again))
            tally.add("mended", sum(bool(case.right) for case in again))
            wrong = [case for case in again if case.right is False]
            insights |= gathered(wrong, learner.reflect(wrong, book, tally, s))[0]
        return learner.merge(state, list(insights.values()), tags, f"ace/{at}", tally, s), hits

    def _answered(self, state: State, episodes: Sequence[Episode], name: tuple[Any, ...], s: Session) -> list[Case]:
        """The generator's answers; with the bit, if it is not hidden."""
        seeds = [s.seed("ace", *name, episode.id) for episode in episodes]
        if self._settings.feedback == "hidden":
            return self._unmarked(state, episodes, seeds, s)
        rows = s.evaluate([Ask(state, e, 1, seed) for e, seed in zip(episodes, seeds, strict=True)], "graded")
        return [
            case_of(query.id, query.text, score, seed)
            for episode, row, seed in zip(episodes, rows, seeds, strict=True)
            for query, score in zip(episode.queries, row, strict=True)
        ]

    def _unmarked(self, state: State, episodes: Sequence[Episode], seeds: Sequence[int], s: Session) -> list[Case]:
        own = self._settings
        asked = [(query, seed) for e, seed in zip(episodes, seeds, strict=True) for query in e.queries]
        chat = "chat" in s.lm(state).can
        rows = s.generate(
            [
                Request(state, s.task.prompt(query, state.memory, chat=chat), 1, own.answer_temperature,
                        max_tokens=own.answer_tokens, seed=seed)
                for query, seed in asked
            ]
        )  # fmt: skip
        return [Case(q.id, q.text, one.text.strip(), None, seed) for (q, seed), (one,) in zip(asked, rows, strict=True)]

    def _validated(self, state: State, s: Session) -> float:
        episodes = s.episodes("validation", self._settings.validate)
        rows = s.evaluate([Ask(state, e, 1, s.seed("ace", "validate", e.id)) for e in episodes], "graded")
        values = [score.value for row in rows for score in row]
        if not values or None in values:
            raise RunError("ace: the validation split has no questions, or an answer was lost")
        return sum(value for value in values if value is not None) / len(values)


def case_of(query: str, question: str, score: Score, seed: int) -> Case:
    """A graded answer as the reflector may see it: the answer and one bit.

    Raises:
        RunError: the answer was lost.
    """
    if score.value is None:
        raise RunError(f"ace: an answer to {query!r} was lost: {score.measures.get('reason', '')}")
    return Case(query, question, score.answers[0] if score.answers else "", score.value >= 0.5, seed)


def _shuffled(episodes: Sequence[Episode], seed: int) -> list[Episode]:
    return random.Random(seed).sample(list(episodes), len(episodes))
