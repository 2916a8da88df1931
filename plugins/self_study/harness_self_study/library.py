"""A library of documents that the model has not been shown: it is searched, and what is found is read."""

from __future__ import annotations

from collections.abc import Sequence

from harness_baselines.rag import Pool

from harness.api import Episode


class Library:
    """BM25 over the documents' titles and texts (the package bm25s, extra ``rag``)."""

    def __init__(self, documents: Sequence[Episode]) -> None:
        self._pool = Pool(documents)

    def find(self, query: str, count: int) -> list[Episode]:
        """The best documents for a query, best first; of equals the first of the library."""
        [order] = self._pool.search([query])
        return [self._pool.episodes[place] for place in order[:count]]

    def unseen(self, query: str, count: int, seen: set[str]) -> list[Episode]:
        """The best documents among those whose id is not in ``seen``."""
        [order] = self._pool.search([query])
        found = [self._pool.episodes[place] for place in order if self._pool.episodes[place].id not in seen]
        return found[:count]
