"""Each question with its own context in the prompt: what a model can still read, whatever it has learnt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from harness.api import Ask, Evaluator, References, Score, Session


class OpenBook(Evaluator):
    """Has ``inner`` ask and grade with the context's text as the passage in :attr:`State.memory`."""

    nested: ClassVar[Mapping[str, str]] = {"inner": "evaluator"}

    def __init__(self, inner: Evaluator) -> None:
        self._inner = inner
        self.metric = inner.metric
        self.local = inner.local

    def evaluate(
        self, asks: Sequence[Ask], references: Mapping[str, References], s: Session, /
    ) -> Iterator[Sequence[Score]]:
        """The scores of each ask's queries, ask by ask."""
        opened = []
        for ask in asks:
            memory = {**ask.state.memory, "passage": str(ask.episode.context["text"])}
            opened.append(replace(ask, state=replace(ask.state, memory=memory)))
        yield from self._inner.evaluate(opened, references, s)
