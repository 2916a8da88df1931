"""Answers sampled for unlabelled questions, and the labels that stand in for references."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from harness.api import Ask, Completion, Episode, Query, Request, Session, State
from harness.errors import RunError, UsageError
from harness.votes import Same, Vote, vote

Labels = Literal["majority", "random", "oracle"]
Positive = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class Sampling:
    """How questions are asked."""

    samples: int
    temperature: float
    top_p: float
    max_tokens: int


@dataclass(frozen=True)
class Answered:
    """One question with its sampled answers."""

    episode: Episode
    query: Query
    seed: int
    completions: tuple[Completion, ...]
    answers: tuple[str | None, ...]
    """Parallel to ``completions``; None where a text holds no answer."""

    def agreeing(self, answer: str | None, s: Session) -> list[bool]:
        """Which completions answer so; none where there is no answer to agree with."""
        task = s.task
        return [answer is not None and own is not None and task.same(self.query, own, answer) for own in self.answers]


def answered(s: Session, state: State, episodes: Sequence[Episode], how: Sampling, *name: object) -> list[Answered]:
    """All queries of the episodes, asked of a state.

    Args:
        name: of the seeds; the same name, state and sampling give the same texts.

    Raises:
        RunError: an answer was lost.
    """
    chat = "chat" in s.lm(state).can
    asked = [(episode, query, s.seed(*name, episode.id)) for episode in episodes for query in episode.queries]
    rows = s.generate(
        [
            Request(
                state,
                s.task.prompt(query, state.memory, chat=chat),
                n=how.samples,
                temperature=how.temperature,
                top_p=how.top_p,
                max_tokens=how.max_tokens,
                seed=seed,
            )
            for _, query, seed in asked
        ]
    )
    out = []
    for (episode, query, seed), row in zip(asked, rows, strict=True):
        lost = next((one for one in row if one.finish == "error"), None)
        if lost is not None:
            raise RunError(f"an answer to {query.id!r} was lost: {lost.reason or 'no reason given'}")
        answers = tuple(None if one.finish == "failed" else s.task.extract(query, one.text) for one in row)
        out.append(Answered(episode, query, seed, tuple(row), answers))
    return out


def votes(s: Session, groups: Sequence[Answered], by: Literal["class", "string"]) -> list[Vote]:
    """The majority of every group: by the task's sameness of answers, or by equal strings."""
    return [vote(group.answers, _same(s, group.query) if by == "class" else None) for group in groups]


def labels(
    s: Session, groups: Sequence[Answered], kind: Labels, by: Literal["class", "string"], *name: object
) -> list[str | None]:
    """The label that each group is trained towards; None where there is none.

    ``random`` is one of the group's different answers; ``oracle`` one that the slot ``oracle`` marks as right, which
    is a control and costs labels.
    """
    if kind == "majority":
        return [one.answer for one in votes(s, groups, by)]
    if kind == "oracle":
        return _right(s, groups)
    out: list[str | None] = []
    for group in groups:
        different = list(dict.fromkeys(answer for answer in group.answers if answer is not None))
        draw = random.Random(s.seed(*name, "random label", group.query.id))
        out.append(draw.choice(different) if different else None)
    return out


def _right(s: Session, groups: Sequence[Answered]) -> list[str | None]:
    """The first right answer of every group, from scores of the very same samples."""
    asks = {
        group.episode.id: Ask(group.completions[0].request.state, group.episode, len(group.completions), group.seed)
        for group in groups
    }
    rows = s.evaluate(list(asks.values()), "oracle")
    scores = {score.query: score for row in rows for score in row}
    out: list[str | None] = []
    for group in groups:
        score = scores[group.query.id]
        if score.value is None:
            raise UsageError(
                "labels = 'oracle' needs references, and those of the test split are not handed out: set "
                "trainer.split = 'train'"
            )
        marks = score.measures.get("correct")
        if marks is None or score.answers != tuple(one.text.strip() for one in group.completions):
            raise UsageError(
                "labels = 'oracle': the slot 'oracle' must be the evaluator 'sampled' with samples = 1 and the "
                "trainer's own temperature, top_p and max_tokens"
            )
        out.append(next((a for a, right in zip(group.answers, marks, strict=True) if right), None))
    return out


def _same(s: Session, query: Query) -> Same:
    task = s.task
    return lambda a, b: task.same(query, a, b)


def measured(groups: Sequence[Answered], found: Sequence[Vote]) -> dict[str, float]:
    """What a round's answers are like; means over questions."""
    n = max(1, len(groups))
    texts = [[one.text for one in group.completions] for group in groups]
    tokens = [float(one.cost.get("completion_tokens", 0)) for group in groups for one in group.completions]
    return {
        "agreement": sum(one.share for one in found) / n,
        "unanswered": sum(group.answers.count(None) / len(group.answers) for group in groups) / n,
        "distinct": sum(len(set(row)) / len(row) for row in texts) / n,
        "tokens": sum(tokens) / max(1, len(tokens)),
    }
