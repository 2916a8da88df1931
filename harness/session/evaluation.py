"""Scores of answers, booked ask by ask, and the labels that a method used on its way."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

from harness.api import Ask, Episode, Evaluator, Score, Updated
from harness.books.episodes import copied
from harness.books.item import Item
from harness.books.records import decode, digest, encode
from harness.registry.build import BuiltComponent
from harness.session import checks
from harness.session.calls import Calls
from harness.session.scope import Scope


class Evaluation:
    """What a session does with evaluators; ``name`` is the slot of the one that states are asked by after an update."""

    def __init__(self, scope: Scope, calls: Calls, name: str = "evaluator") -> None:
        self._scope = scope
        self._calls = calls
        self._name = name

    @property
    def slot(self) -> BuiltComponent[Evaluator]:
        return self._scope.slot(self._name, Evaluator)

    def evaluate(self, asks: Sequence[Ask], name: str = "evaluator") -> Sequence[Sequence[Score]]:
        """Scores as a method may see them: those of test episodes come back without values."""
        rows = self.answer(asks, name)
        hidden = [self._scope.context.episodes.full(ask.episode.id).split == "test" for ask in asks]
        return [
            [dataclasses.replace(s, value=None, measures={}) for s in row] if hide else row
            for row, hide in zip(rows, hidden, strict=True)
        ]

    def answer(self, asks: Sequence[Ask], name: str = "evaluator") -> Sequence[Sequence[Score]]:
        """Scores with their values on any split, for the core's own use."""
        scope = self._scope
        evaluator = scope.slot(name, Evaluator)
        self._calls.log("evaluate", evaluator.name, evaluator.identity, asks)
        self.count_labels(ask.episode.id for ask in asks)

        def key(ask: Ask) -> str:
            asked = scope.context.episodes.identity(ask.episode.id)
            depends = [evaluator.identity, scope.built_task.identity, scope.models]
            return digest(["scores", *depends, ask.state, asked, ask.samples, ask.seed])

        def run(part: Sequence[Ask]) -> Iterator[tuple[Ask, Any, float]]:
            for ask, scores in zip(part, self.grade(evaluator, part), strict=True):
                yield ask, scores, 0.0

        def item(name: str, ask: Ask, scores: Any, seconds: float) -> Item:
            bad = any(score.status == "error" for score in scores)
            return Item(name, "scores", evaluator.name, "error" if bad else "ok", encode(scores), {},
                        files=scope.files(evaluator))  # fmt: skip

        keys = [key(ask) for ask in asks]
        results = self._calls.in_packs(asks, keys, run, item, "grading", whole=_is_free(evaluator))
        return [decode(result) for result in results]

    def grade(self, slot: BuiltComponent[Evaluator], asks: Sequence[Ask]) -> list[Sequence[Score]]:
        """One list of scores per ask, from the component itself."""
        scope = self._scope
        full = [dataclasses.replace(ask, episode=copied(scope.context.episodes.full(ask.episode.id))) for ask in asks]
        references = scope.context.episodes.references([ask.episode.id for ask in asks])
        if not full:
            return []
        with scope.clock.span("grading"), scope.watch.answers(full) if scope.watch else nullcontext():
            answered = self._calls.guard(
                slot, lambda: checks.drawn(slot.instance.evaluate(full, references, scope.sealed))
            )
        return list(checks.scores(slot, answered, full))

    def grade_all(self, asks: Sequence[Ask]) -> list[Sequence[Score]]:
        """One list of scores per ask; they are not booked as items of their own."""
        return self.grade(self.slot, asks)

    def without_answer(self, episode: Episode, updated: Updated) -> Iterator[Score]:
        """The scores of an episode whose update came to nothing: 0.0 if the method failed, no value if we did."""
        value = 0.0 if updated.status == "failed" else None
        for query in self._scope.context.episodes.full(episode.id).queries:
            yield Score(episode.id, query.id, value, updated.status, (), {"reason": updated.reason})

    @property
    def is_free(self) -> bool:
        """Whether grading again costs nothing, so that a pack may be computed whole."""
        return _is_free(self._scope.slot("evaluator", Evaluator))

    def depends(self, episodes: Iterable[Episode]) -> list[Any]:
        """What the scores of these episodes depend on, besides the state that is asked."""
        asked = [self._scope.context.episodes.identity(episode.id) for episode in episodes]
        return [self.slot.identity, self._scope.built_task.identity, asked]

    def files(self) -> dict[str, str]:
        """Files that the evaluator and the task of this evaluation have read."""
        return self._scope.files(self.slot)

    def count_labels(self, episodes: Iterable[str]) -> None:
        """Note the episodes whose references are used, except those that the method made."""
        book = self._scope.context.episodes
        self._scope.facts.note("graded", (name for name in episodes if book.full(name).split != "made"))

    def labels(self) -> set[str]:
        """Queries of the outer loop that were graded against a reference: the labels that the method used."""
        book = self._scope.context.episodes
        return {query for name in self._scope.facts.seen("graded", "outer") for query in book.references([name])[name]}


def _is_free(slot: BuiltComponent[Any]) -> bool:
    inner = (part for part in slot.nested.values() if part.kind == "evaluator")
    return bool(slot.instance.local) and all(map(_is_free, inner))
