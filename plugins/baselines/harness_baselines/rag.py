"""Retrieval: every question's prompt holds the passages that BM25 finds for it; nothing is learnt."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from harness.api import Ask, Episode, Evaluator, Query, References, Score, Session
from harness.errors import PluginError, UsageError


@dataclass(frozen=True)
class RagSettings:
    """What the search query is, and how many passages are shown."""

    k: Annotated[int, Field(ge=1)] = 1
    """Passages in the prompt, the best one last, next to the question."""
    query: Literal["question", "title+question"] = "question"
    """The search query."""
    recall_at: tuple[int, ...] = (1, 3, 5)
    """Cut-offs k of the reported ``recall@k``: whether the question's own passage is among the first k."""


class Rag(Evaluator):
    """Puts the passages found for a question into :attr:`State.memory`, and has ``inner`` ask and grade it.

    The pool is the contexts of the asked split in this run. The ``measures`` of every score hold ``recall@<k>``: 1
    if the question's own passage is among the first ``k`` found. So errors of retrieval and reading can be told apart.
    """

    Settings: ClassVar[type[RagSettings]] = RagSettings
    nested: ClassVar[Mapping[str, str]] = {"inner": "evaluator"}

    def __init__(self, settings: RagSettings, inner: Evaluator) -> None:
        self._settings = settings
        self._inner = inner
        self.metric = inner.metric

    def evaluate(
        self, asks: Sequence[Ask], references: Mapping[str, References], s: Session, /
    ) -> Iterator[Sequence[Score]]:
        """The scores of each ask's queries, ask by ask."""
        pools = {split: Pool(s.episodes(split)) for split in dict.fromkeys(ask.episode.split for ask in asks)}
        single: list[Ask] = []
        recalls: list[dict[str, float]] = []
        for ask in asks:
            pool = pools[ask.episode.split]
            ranked = pool.search([self._words(query) for query in ask.episode.queries])
            for query, order in zip(ask.episode.queries, ranked, strict=True):
                single.append(self._one(ask, query, [pool.episodes[place] for place in order[: self._settings.k]]))
                recalls.append(self._recall([pool.episodes[place].id for place in order], ask.episode.id))
        rows = iter(zip(self._inner.evaluate(single, references, s), recalls, strict=True))
        for ask in asks:
            scores = []
            for _ in ask.episode.queries:
                [score], recall = next(rows)
                scores.append(replace(score, measures={**score.measures, **recall}))
            yield scores

    def _words(self, query: Query) -> str:
        title = f"{query.meta.get('title', '')} " if self._settings.query == "title+question" else ""
        return title + query.text

    def _one(self, ask: Ask, query: Query, found: Sequence[Episode]) -> Ask:
        text = "\n\n".join(_shown(episode, alone=len(found) == 1) for episode in reversed(found))
        state = replace(ask.state, memory={**ask.state.memory, "passage": text})
        return replace(ask, state=state, episode=replace(ask.episode, queries=(query,)))

    def _recall(self, found: Sequence[str], own: str) -> dict[str, float]:
        return {f"recall@{k}": float(own in found[:k]) for k in self._settings.recall_at}


class Pool:
    """A BM25 index over passages (title and text).

    Raises:
        UsageError: the extra ``rag`` is not installed.
    """

    def __init__(self, episodes: Sequence[Episode]) -> None:
        try:
            import bm25s
        except ImportError as error:
            raise UsageError("evaluator 'rag' needs the package bm25s: pip install 'selfadapt-harness[rag]'") from error
        if not episodes:
            raise PluginError("evaluator 'rag': there are no passages to search in")
        logging.getLogger("bm25s").setLevel(logging.WARNING)  # it logs every index that it builds
        self.episodes = list(episodes)
        self._tokens = bm25s.tokenize
        self._index = bm25s.BM25()
        texts = [f"{episode.context.get('title', '')}\n{episode.context['text']}" for episode in episodes]
        self._index.index(self._tokens(texts, stopwords="en", show_progress=False), show_progress=False)

    def search(self, queries: Sequence[str]) -> list[list[int]]:
        """For each query the indices of all passages, best first; ties in the order of the pool."""
        found = []
        for query in queries:
            [words] = self._tokens([query], stopwords="en", return_ids=False, show_progress=False)
            scores = self._index.get_scores(words) if words else [0.0] * len(self.episodes)
            found.append(sorted(range(len(self.episodes)), key=lambda place: (-float(scores[place]), place)))
        return found


def _shown(episode: Episode, *, alone: bool) -> str:
    """A single passage is shown under the question's own title, as in ``icl``; several come with their own titles."""
    text = str(episode.context["text"]).strip()
    return text if alone else f"{str(episode.context.get('title', '')).strip()}\n{text}"
