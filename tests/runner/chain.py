"""A plugin in one file: a protocol that learns one edit after another, a second task, a second evaluator, and lies."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness import hookimpl
from harness.api import (
    Ask,
    Bench,
    EvaluationProtocol,
    Evaluator,
    Measure,
    Measurement,
    References,
    Score,
    Session,
    UpdateJob,
)
from harness.testing import ScriptedTask

ZOO = {f"owls{number}": f"owls{number} live in the zoo" for number in range(3)}


class Zoo(ScriptedTask):
    """Another task, with an episode whose id occurs in the first task too."""

    name = "zoo"

    def __init__(self) -> None:
        episodes = {name: (text, {f"who is {name}?": [name]}) for name, text in ZOO.items()}
        episodes["cats5"] = ("cats5 live in the zoo", {"who is cats5?": ["a cat of the zoo"]})
        super().__init__({"train": {}, "validation": {}, "test": episodes})


class Half(Evaluator):
    """Half a point for every answer that is not "no idea"; it records what it was handed."""

    metric = "halves"

    def evaluate(
        self, asks: Sequence[Ask], references: Mapping[str, References], s: Session, /
    ) -> Iterator[Sequence[Score]]:
        from harness.api import Request

        assert not hasattr(s.task, "load")
        assert set(references) == {ask.episode.id for ask in asks}
        for ask in asks:
            requests = [Request(ask.state, s.task.prompt(q, ask.state.memory, chat=False)) for q in ask.episode.queries]
            rows = s.lm(ask.state).generate(requests)
            yield [
                Score(ask.episode.id, query.id, 0.5 * (row[0].text != "no idea"), answers=(row[0].text,),
                      measures={"references": [list(references[ask.episode.id][query.id])]})
                for query, row in zip(ask.episode.queries, rows, strict=True)
            ]  # fmt: skip


class Chain(EvaluationProtocol):
    """Every edit is learnt on top of the earlier ones; after each of them all questions are asked."""

    @dataclass(frozen=True)
    class Settings:
        every: int = 1
        """Edits between two measurements."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def measure(self, bench: Bench, /) -> Iterator[Measurement]:
        s, state = bench.session, bench.session.roles["student"]
        base = state
        edits = [edit for group in bench.edits(bench.episodes()) for edit in group.edits]
        steps = range(0, len(edits), self._settings.every)
        for step, start in enumerate(steps):
            for edit in edits[start : start + self._settings.every]:
                [done] = s.update("updater", [UpdateJob(f"chain/{edit.id}", state, (edit,), s.seed(edit.id))])
                assert done.state is not None
                state = done.state
            # The last measurement comes with the other measures, below.
            yield Measurement("retention", self._ask(bench, state, "score"), step, "score")
        nats = Measure("animals", "1", "distance", "adapters", unit="nats", lower_is_better=True)
        far = math.log1p(len(state.adapters) - len(base.adapters))
        yield Measurement("distance", [Score("base", "base", far)], measure=nats)
        for measure in bench.measures:
            yield Measurement(measure, self._ask(bench, state, measure))

    def _ask(self, bench: Bench, state: Any, measure: str) -> list[Score]:
        rows = bench.ask([Ask(state, e, 1, bench.session.seed("ask", e.id)) for e in bench.episodes(measure)], measure)
        return [score for row in rows for score in row]


class Liar(EvaluationProtocol):
    """Yields measurements that no protocol may yield."""

    @dataclass(frozen=True)
    class Settings:
        lie: str = ""

    def __init__(self, settings: Settings) -> None:
        self._lie = settings.lie

    def measure(self, bench: Bench, /) -> Iterator[Any]:
        episodes = bench.episodes()
        rows = bench.ask([Ask(bench.session.roles["student"], episode) for episode in episodes])
        true = [score for row in rows for score in row]
        one = true[0]
        lies: dict[str, list[Any]] = {
            "none": [],
            "text": ["score 1.0"],
            "name": [Measurement("../score", true)],
            "unknown": [Measurement("other", true)],
            "twice": [Measurement("score", true), Measurement("score", true)],
            "steps": [Measurement("score", true, 0), Measurement("score", true)],
            "negative": [Measurement("score", true, -1)],
            "above": [Measurement("score", [replace(one, value=7.0), *true[1:]])],
            "nan": [Measurement("score", [replace(one, value=math.nan), *true[1:]])],
            "valueless": [Measurement("score", [replace(one, value=None), *true[1:]])],
            "stranger": [Measurement("score", [*true, Score("dogs99", "q", 1.0)])],
            "own": [Measurement("score", true, measure=Measure("easy", "1", "me", "right"))],
            "raises": [Measurement("score", true), 1 / 0] if self._lie == "raises" else [],
            "half": [Measurement("score", true[: len(true) // 2])],
        }
        yield from lies[self._lie]


@hookimpl
def harness_protocols() -> Mapping[str, str]:
    return {"chain": "chain:Chain", "liar": "chain:Liar"}


@hookimpl
def harness_evaluators() -> Mapping[str, str]:
    return {"half": "chain:Half"}


@hookimpl
def harness_tasks() -> Mapping[str, str]:
    return {"zoo": "chain:Zoo"}
