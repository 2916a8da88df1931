"""Small components and a task for the session's tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.api import (
    Ask,
    Completion,
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
from harness.session.service import SessionService
from harness.testing import ScriptedLM, ScriptedTask, open_session

ANIMALS = {"cats": "purr", "dogs": "bark", "owls": "hoot", "bees": "hum"}


def task() -> ScriptedTask:
    def passage(name: str) -> tuple[str, Mapping[str, Sequence[str]]]:
        return f"{name} {ANIMALS[name]}", {f"what {ANIMALS[name]}s": [name]}

    return ScriptedTask(
        {
            "train": {name: passage(name) for name in ("cats", "dogs")},
            "validation": {"owls": passage("owls")},
            "test": {"bees": passage("bees")},
        }
    )


def knows_after_training(request: Request, index: int) -> str:
    """Writes the passage back with a mark; answers right only once something was learnt."""
    prompt = str(request.prompt)
    if prompt.startswith("Write: "):
        return f"{prompt.removeprefix('Write: ')} ({index})"
    if request.state.adapters:
        return next(name for name, sound in ANIMALS.items() if sound in prompt)
    return "no idea"


class Writer(Editor):
    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Sequence[Sequence[SelfEdit]]:
        requests = [
            Request(a.state, f"Write: {a.episode.context['text']}", n=a.n, temperature=1.0, seed=a.seed) for a in asks
        ]
        return [
            [_edit(ask, index, completion) for index, completion in enumerate(row)]
            for ask, row in zip(asks, s.lm("teacher").generate(requests), strict=True)
        ]


def _edit(ask: EditAsk, index: int, completion: Completion) -> SelfEdit:
    lines = Recipe("lines", {"text": completion.text})
    return SelfEdit(f"{ask.episode.id}/{index}", ask.episode.id, (lines,), actions=(completion,))


class Fit(Updater):
    accepts = frozenset({Example})

    def apply(self, jobs: Sequence[UpdateJob], s: Session, /) -> Iterator[Updated]:
        yield from s.fit(jobs)


class Exact(Evaluator):
    def evaluate(
        self, asks: Sequence[Ask], references: Mapping[str, References], s: Session, /
    ) -> Iterator[Sequence[Score]]:
        requests = [
            Request(a.state, s.task.prompt(q, a.state.memory, chat=False)) for a in asks for q in a.episode.queries
        ]
        answers = iter(s.lm(asks[0].state).generate(requests))
        for ask in asks:
            texts = [(query, next(answers)[0].text) for query in ask.episode.queries]
            yield [
                Score(ask.episode.id, q.id, float(text in references[ask.episode.id][q.id]), answers=(text,))
                for q, text in texts
            ]


class TrialMean(RewardFunction):
    def score(self, groups: Sequence[Group], s: Session, /) -> Sequence[Sequence[Reward]]:
        jobs = [
            TrialJob(UpdateJob(edit.id, s.roles["student"], (edit,), s.seed("inner", edit.id)), (group.ask.episode,))
            for group in groups
            for edit in group.edits
        ]
        rows = iter(s.trial(jobs))
        return [[_mean(next(rows)) for _ in group.edits] for group in groups]


def _mean(scores: Sequence[Score]) -> Reward:
    values = [score.value for score in scores if score.value is not None]
    return Reward(sum(values) / len(values)) if len(values) == len(scores) else Reward(None, "error")


def session(
    folder: Path, lm: ScriptedLM, world: ScriptedTask | None = None, **slots: tuple[str, Any]
) -> SessionService:
    """A session with these components, except in the given slots."""
    parts: dict[str, tuple[str, Any]] = {
        "editor": ("editor", Writer()),
        "updater": ("updater", Fit()),
        "reward": ("reward", TrialMean()),
        "evaluator": ("evaluator", Exact()),
        **slots,
    }
    return open_session(folder, world or task(), {"teacher": lm}, parts, roles={"student": "@teacher"})


def one_round(s: SessionService) -> dict[str, Any]:
    """Propose, reward, train on the best, ask: everything that an outer loop does."""
    asks = [EditAsk(e, s.roles["teacher"], 2, s.seed("propose", e.id)) for e in s.episodes("train")]
    groups = s.reward(s.propose("teacher", asks))
    kept = tuple(group.edits[0] for group in groups)
    [updated] = s.update("updater", [UpdateJob("policy", s.roles["teacher"], kept, s.seed("sft"))])
    assert updated.state is not None
    s.roles["teacher"] = updated.state
    scores = s.evaluate([Ask(updated.state, episode) for episode in s.episodes("validation")])
    return {"groups": groups, "state": updated.state, "scores": scores}
