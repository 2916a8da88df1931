"""Plain components for the slots that a test is not about, and a small task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.api import (
    Ask,
    EditAsk,
    Editor,
    Evaluator,
    Example,
    Group,
    Recipe,
    References,
    Request,
    Reward,
    RewardFunction,
    Score,
    SelfEdit,
    Session,
    TrialJob,
    Updated,
    UpdateJob,
    Updater,
)
from harness.testing.scripted import ScriptedTask

_PLACES = ["Alder", "Birch", "Cedar", "Dogwood", "Elm", "Fir", "Gorse", "Hazel", "Ivy", "Juniper", "Larch", "Maple"]


def world() -> ScriptedTask:
    """A task with four passages per split, each with two questions: who founded the place, and when."""

    def passage(at: int, name: str) -> tuple[str, Mapping[str, Sequence[str]]]:
        who, when = f"{name[::-1].capitalize()} Hart", str(1801 + 7 * at)
        return f"{name} was founded in {when} by {who}.", {
            f"Who founded {name}?": [who],
            f"When was {name} founded?": [when],
        }

    names = list(enumerate(_PLACES))
    splits = {"train": names[:4], "validation": names[4:8], "test": names[8:]}
    return ScriptedTask({split: {name: passage(at, name) for at, name in part} for split, part in splits.items()})


class Writer(Editor):
    """The teacher writes about the passage, and its text is the edit's one training example."""

    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Sequence[Sequence[SelfEdit]]:
        requests = [Request(a.state, f"Write: {a.episode.context}", n=a.n, temperature=1.0, seed=a.seed) for a in asks]
        rows = s.generate(requests)
        return [
            [
                SelfEdit(f"{ask.episode.id}/{n}", ask.episode.id, (Example("", one.text),), actions=(one,))
                for n, one in enumerate(row)
            ]
            for ask, row in zip(asks, rows, strict=True)
        ]


class Fit(Updater):
    """Trains on the job's examples and recipes with the model's own defaults."""

    accepts = frozenset({Example, Recipe})

    def apply(self, jobs: Sequence[UpdateJob], s: Session, /) -> Iterator[Updated]:
        yield from s.fit(jobs)


class Match(Evaluator):
    """An answer is right if it equals a reference."""

    def evaluate(
        self, asks: Sequence[Ask], references: Mapping[str, References], s: Session, /
    ) -> Iterator[Sequence[Score]]:
        for ask in asks:
            requests = [Request(ask.state, s.task.prompt(q, ask.state.memory, chat=False)) for q in ask.episode.queries]
            texts = [row[0].text.strip() for row in s.generate(requests)]
            golds = references[ask.episode.id]
            yield [
                Score(ask.episode.id, query.id, float(text in golds[query.id]), answers=(text,))
                for query, text in zip(ask.episode.queries, texts, strict=True)
            ]


class TrialReward(RewardFunction):
    """The share of right answers after a trial with the edit."""

    def score(self, groups: Sequence[Group], s: Session, /) -> Sequence[Sequence[Reward]]:
        jobs = [
            TrialJob(UpdateJob(edit.id, s.roles["student"], (edit,), s.seed("inner", edit.id)), (group.ask.episode,))
            for group in groups
            for edit in group.edits
        ]
        rows = iter(s.trial(jobs))
        return [[_mean(next(rows)) for _ in group.edits] for group in groups]


def slots() -> dict[str, tuple[str, Any]]:
    """One plain component in each slot of a method."""
    return {
        "editor": ("editor", Writer()),
        "updater": ("updater", Fit()),
        "policy": ("updater", Fit()),
        "reward": ("reward", TrialReward()),
        "evaluator": ("evaluator", Match()),
    }


def _mean(scores: Sequence[Score]) -> Reward:
    values = [score.value for score in scores if score.value is not None]
    if len(values) < len(scores):
        return Reward(None, "error", {"reason": "an answer was lost"})
    return Reward(sum(values) / len(values) if values else 0.0)
