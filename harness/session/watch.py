"""What a method's calls show of what its card declares: which texts are in its prompts and in what it learns.

Only what goes through the session is seen, and not what a component reads from a file of its own, or does with a module
that it borrowed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, lru_cache

from harness.api import Ask, Episode, Prompt, UpdateJob
from harness.books.episodes import EpisodeBook, texts
from harness.books.quotes import Quotes
from harness.books.records import encode
from harness.session.facts import Facts


class Watch:
    """Notes facts about the test split of one task."""

    def __init__(self, episodes: EpisodeBook, facts: Facts) -> None:
        self._episodes = episodes
        self._facts = facts
        self.answering: frozenset[str] = frozenset()
        """Bases of the models that are answering test queries now."""
        # The same prompts are asked of many states.
        self._contexts = lru_cache(4096)(lambda text: self._quotes.contexts(text))
        self._queries = lru_cache(4096)(lambda text: self._quotes.queries(text))

    @cached_property
    def _quotes(self) -> Quotes:
        # A split that the run has not read is not read for this: the hub's train split is a download.
        return Quotes(self._episodes.split("test"), self._episodes.loaded("train", "validation"))

    @property
    def _matters(self) -> bool:
        """Whether text of the test split would be out of place now, or is to be noted with the call that is open."""
        return self._facts.stage == "outer" or self._facts.inside("edits") or self._facts.inside("rewards")

    def asked(self, episodes: Sequence[Episode]) -> None:
        """A component asks something about episodes."""
        self._facts.note("test", (e.id for e in episodes if self._episodes.full(e.id).split == "test"))

    def prompted(self, base: str, prompts: Sequence[Prompt]) -> None:
        """A model is given prompts."""
        writing = self._facts.inside("edits")
        if writing:
            self._facts.note("wrote", [base])
        for text in dict.fromkeys(map(_text, prompts)):
            if self.answering:
                if base in self.answering:
                    self._facts.note("open_book", self._contexts(text))
            elif self._matters:
                self._facts.note("test", self._contexts(text) | self._queries(text))
                if writing:
                    self._facts.note("queries", self._quotes.queries(text, every=True))

    def learnt(self, jobs: Sequence[UpdateJob]) -> None:
        """An updater is about to learn edits."""
        edits = [edit for job in jobs for edit in job.edits]
        self._facts.note("wrote", (action.request.state.base for edit in edits for action in edit.actions))
        if not self._matters:
            return
        for edit in edits:
            if self._episodes.full(edit.episode).split == "test":
                self._facts.note("test", [edit.episode])
            text = "\n".join(texts(encode(list(edit.data))))
            self._facts.note("test", self._contexts(text) | self._queries(text))

    @contextmanager
    def answers(self, asks: Sequence[Ask]) -> Iterator[None]:
        """Prompts inside are an evaluator's questions; test contexts in the states' memories are noted at once."""
        of_test = [ask for ask in asks if ask.episode.split == "test"]
        for ask in of_test:
            if ask.state.memory:
                held = "\n".join(texts(ask.state.memory))
                self._facts.note("open_book", self._contexts(held) & {ask.episode.id})
        before, self.answering = self.answering, frozenset(ask.state.base for ask in of_test)
        try:
            yield
        finally:
            self.answering = before


def _text(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else "\n".join(text for _, text in prompt)
