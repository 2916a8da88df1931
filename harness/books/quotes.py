"""Finds quotations of a task's contexts and queries in a text, ignoring spacing, case and punctuation."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from harness.api import Episode
from harness.books.episodes import PASSAGE, texts

_RUN = 8
"""Length in words of the runs that are compared; a passage with fewer words is compared as a whole."""
_SHARE = 0.2
"""The least fraction of a context's runs that makes a quotation: a common phrase is not one."""
_QUERY = 5
"""The fewest words of a query that is looked for: a shorter one might occur to anybody."""
_WORD = re.compile(r"\w+")


class Quotes:
    """An index of the passages and queries of some episodes.

    Runs of words that a context shares with its own queries, with other contexts or with ``others`` are ignored (they
    may be a template's), and so is a query that several episodes ask. A context without a passage of 40 characters (a
    grid, a word) is never found.

    Args:
        others: further episodes of the task, which are not looked for.
    """

    def __init__(self, episodes: Sequence[Episode], others: Sequence[Episode] = ()) -> None:
        self._runs: dict[tuple[str, ...], str] = {}
        self._lengths: set[int] = set()
        self._asked: dict[tuple[str, ...], list[tuple[str, tuple[str, ...]]]] = {}
        self._queries: dict[str, int] = {}
        every = [*episodes, *others]
        times = Counter(_words(query.text) for episode in every for query in episode.queries)
        shared = Counter(run for episode in every for run in _own_runs(episode))
        for episode in episodes:
            for run in _own_runs(episode):
                if shared[run] == 1:
                    self._runs[run] = episode.id
                    self._lengths.add(len(run))
            for query in episode.queries:
                words = _words(query.text)
                if len(words) >= _QUERY and times[words] == 1:
                    self._asked.setdefault(words[:_QUERY], []).append((episode.id, words))
                    self._queries[episode.id] = self._queries.get(episode.id, 0) + 1
        self._sizes = Counter(self._runs.values())

    def contexts(self, text: str) -> set[str]:
        """Ids of the episodes of whose context at least a fifth occurs in the text."""
        words = _words(text)
        found: Counter[str] = Counter()
        for length in self._lengths:
            for run in set(_runs(words, length)):
                if run in self._runs:
                    found[self._runs[run]] += 1
        return {episode for episode, count in found.items() if count >= _SHARE * self._sizes[episode]}

    def queries(self, text: str, *, every: bool = False) -> set[str]:
        """Ids of the episodes with a query that occurs in the text.

        Args:
            every: only episodes with several queries, all of which occur: a single question might occur to anybody.
        """
        words = _words(text)
        found: dict[str, set[tuple[str, ...]]] = {}
        for at, run in enumerate(_runs(words, _QUERY)):
            for episode, query in self._asked.get(run, ()):
                if words[at : at + len(query)] == query:
                    found.setdefault(episode, set()).add(query)
        return {one for one, asked in found.items() if not every or 1 < len(asked) == self._queries[one]}


def _own_runs(episode: Episode) -> set[tuple[str, ...]]:
    """The runs of words in an episode's passages that do not also occur in its queries."""
    mine: set[tuple[str, ...]] = set()
    for text in texts(episode.context):
        words = _words(text)
        if len(text) >= PASSAGE and words:
            mine |= set(_runs(words, min(_RUN, len(words))))
    return mine - {run for query in episode.queries for run in _runs(_words(query.text), _RUN)}


def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(text.casefold()))


def _runs(words: tuple[str, ...], length: int) -> list[tuple[str, ...]]:
    return [words[at : at + length] for at in range(len(words) - length + 1)]
