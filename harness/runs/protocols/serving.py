"""How adapters that were trained apart answer: each context by its own, by the one that a router picks, or all in one.

Only the oracle knows which context a question is about. The routers read the question and what the edits say; neither
sees an answer or a label:

* ``words``: the adapter whose edit's words make the question's most probable (query likelihood, Ponte & Croft 1998,
  with Jelinek-Mercer smoothing).
* ``nearest``: the adapter whose edit's sequences have the mean hidden state, in the untouched model, that is nearest
  to the question's by cosine.
* ``learnt``: ridge regression from the untouched model's hidden states of the edits' sequences to the adapter.

Every other way merges the adapters learnt so far (:meth:`harness.api.Session.merge`), so that nothing has to be picked,
except for ``superposition``, where the oracle has the key.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from harness.api import HEADLINE, Bench, Episode, Example, Measure, Measurement, Score, SelfEdit, State, UpdateJob

ORACLE, SUPERPOSITION = "oracle", "superposition"
ROUTERS = ("words", "nearest", "learnt")
_KNOWN_SHARE = 0.5
"""How much of a word's probability is the edit's own; the rest is that of all edits."""
_RIDGE = 1.0


class Apart(Protocol):
    """A sequence's adapters: ``own[j]`` is the state that learnt ``edits[j]``."""

    name: str
    own: dict[int, State]
    edits: list[tuple[SelfEdit, ...]]


@dataclass
class Serving:
    """Which state answers each query, by one way of serving adapters."""

    bench: Bench
    how: str
    weight: float = 0.0
    density: float = 0.5
    _merged: dict[tuple[str, int], State] = field(default_factory=dict)
    """(sequence, place of the key) -> the state that answers at this step."""
    _made: dict[tuple[str, ...], State] = field(default_factory=dict)
    """Those of them that are new, and not an only adapter as it is."""
    _right: dict[tuple[str, str], bool] = field(default_factory=dict)
    """(sequence, query of a context met so far) -> whether it went to its own adapter, at this step."""

    def states(
        self, one: Apart, measure: str, asked: Sequence[Episode], places: Sequence[int | None]
    ) -> list[Sequence[State]]:
        """For each episode, the one state that answers its queries, or a state for each of them.

        Args:
            places: where an episode is in the sequence; None for what belongs to none, which the oracle asks of the
                last adapter.
        """
        if not one.own:
            return [[self._student]] * len(asked)
        if self.how in ROUTERS:
            full = {episode.id: episode for episode in self.bench.full(measure)}
            return self._routed(one, [full[episode.id] for episode in asked], places)
        picked = [max(one.own) if place is None else place for place in places]
        if self.how == ORACLE:
            return [[one.own.get(place, self._student)] for place in picked]
        return [[self._one(one, place)] for place in picked]

    def whole(self, one: Apart) -> State | None:
        """The state that answers what belongs to no context; None where a router picks one for every question."""
        if self.how in ROUTERS:
            return None
        [[state]] = self.states(one, HEADLINE, [self.bench.episodes()[0]], [None])
        return state

    @property
    def _student(self) -> State:
        return self.bench.session.roles["student"]

    def end_of_step(self, step: int) -> Iterator[Measurement]:
        """How often the router was right, and the release of what was merged."""
        self._merged.clear()
        if self._made:
            self.bench.session.release([self._made[adapters] for adapters in sorted(self._made)])
            self._made.clear()
        if self._right:
            about = self.bench.measures[HEADLINE]
            measure = Measure(about.task, about.version, "protocol sequence", "routed to its own adapter")
            scores = [Score(name, f"{name}/{query}", float(right)) for (name, query), right in self._right.items()]
            self._right.clear()
            yield Measurement("routed", scores, step, measure)

    # --- merged ---

    def _one(self, one: Apart, place: int) -> State:
        """All adapters in one state. Where they are superposed, through the key of the adapter at ``place``: where it
        has none, of the last one."""
        places = sorted(one.own)
        own = places.index(place) if self.how == SUPERPOSITION and place in one.own else len(places) - 1
        at = (one.name, own)
        if at not in self._merged:
            states = [one.own[j] for j in places]
            found = self.bench.session.merge(states, self.how, weight=self.weight, density=self.density, own=own)
            self._merged[at] = found
            if found not in states:
                self._made[found.adapters] = found
        return self._merged[at]

    # --- routed ---

    def _routed(self, one: Apart, asked: Sequence[Episode], places: Sequence[int | None]) -> list[Sequence[State]]:
        known = sorted(one.own)
        texts = [self._texts(one, j) for j in known]
        queries = [query.text for episode in asked for query in episode.queries]
        picked = iter(_by_words(texts, queries) if self.how == "words" else self._by_states(texts, queries))
        out: list[Sequence[State]] = []
        for episode, place in zip(asked, places, strict=True):
            mine = [known[next(picked)] for _ in episode.queries]
            if place in one.own:
                self._right |= {
                    (one.name, query.id): j == place for query, j in zip(episode.queries, mine, strict=True)
                }
            out.append([one.own[j] for j in mine])
        return out

    def _texts(self, one: Apart, j: int) -> list[str]:
        """The sequences that the adapter of context j learnt."""
        data = self.bench.session.expand(UpdateJob(f"read/{one.name}/{j}", self._student, tuple(one.edits[j]), 0))
        return [f"{x.prompt if isinstance(x.prompt, str) else ''}{x.target}" for x in data if isinstance(x, Example)]

    def _by_states(self, texts: Sequence[Sequence[str]], queries: Sequence[str]) -> list[int]:
        base, flat = self._student, [text for mine in texts for text in mine]
        hidden = self.bench.session.lm(base).hidden([(base, text) for text in [*flat, *queries]], layer=-1)
        x = np.asarray(hidden, dtype=np.float64)
        x = _unit(x - x[: len(flat)].mean(0))
        labels = np.repeat(np.eye(len(texts)), [len(mine) for mine in texts], axis=0)
        known, asked = x[: len(flat)], x[len(flat) :]
        if self.how == "nearest":
            weights = _unit(labels.T @ known).T
        else:
            gram = known.T @ known + _RIDGE * np.eye(x.shape[1])
            weights = np.linalg.solve(gram, known.T @ labels).astype(np.float64)
        return [int(place) for place in (asked @ weights).argmax(1)]


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows of length 1; those of zeros stay."""
    unit: NDArray[np.float64] = rows / (np.linalg.norm(rows, axis=1, keepdims=True) + 1e-12)
    return unit


def _by_words(texts: Sequence[Sequence[str]], queries: Sequence[str]) -> list[int]:
    """For each query, the place of the text under which its words are most probable; the first of equals."""
    counts = [Counter(word for text in mine for word in _words(text)) for mine in texts]
    every: Counter[str] = sum(counts, Counter())
    total = every.total()
    out = []
    for query in queries:
        words = [word for word in _words(query) if every[word]]

        def fit(mine: Counter[str], words: Sequence[str] = words) -> float:
            size = mine.total() or 1
            share = [_KNOWN_SHARE * mine[w] / size + (1 - _KNOWN_SHARE) * every[w] / total for w in words]
            return sum(map(math.log, share))

        fits = [fit(mine) for mine in counts]
        out.append(fits.index(max(fits)))
    return out


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())
