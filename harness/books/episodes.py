"""The task's items: the episodes as a method may see them, and the references, which are handed to evaluators only."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from harness import reads
from harness.api import Episode, References, Split, Task
from harness.books.records import canonical, digest
from harness.errors import PluginError, UsageError
from harness.registry.build import BuiltComponent, named_paths
from harness.text import repaired

PASSAGE = 40
"""The fewest characters for which a text of a context counts as a passage, and not as a title or a word."""
_LOADED: tuple[Split, ...] = ("train", "validation", "test")


class EpisodeBook:
    """All episodes of one task, loaded split by split on first use.

    Files that a task reads to load its items are noted (:mod:`harness.reads`), except the data that its settings name:
    of these, the items themselves are digested.
    """

    def __init__(
        self, task: Task, test_limit: int = 0, built: BuiltComponent[Task] | None = None, *, test_alone: bool = False
    ) -> None:
        """
        Args:
            test_limit: the most episodes of the test split; 0 for all.
            built: the task with its settings and reader, where the files that it reads matter.
            test_alone: whether the run needs no other split (:meth:`harness.api.Task.test_on_all`).
        """
        self._task = task
        self._alone = test_alone
        if test_alone:
            task.test_on_all()
        self._reader = built.reads if built else reads.Reader()
        self._data = named_paths(built.settings) if built else []
        self._test_limit = test_limit
        self.replaced = 0
        """The number of characters of the task's texts that were replaced (:mod:`harness.text`)."""
        self._splits: dict[str, list[Episode]] = {}
        self._full: dict[str, Episode] = {}
        self._references: dict[str, References] = {}

    def split(self, name: Split, limit: int | None = None) -> Sequence[Episode]:
        """The full episodes of a split, in the task's order; the run's own limit applies to the test split only.

        Raises:
            UsageError: a component asks for another split, but the run tests on all of the task's items.
        """
        self._load(name)
        if self._alone and name in ("train", "validation") and not self._splits[name]:
            raise UsageError(
                f"this run tests on all items of task {self._task.name!r}, as no row has an outer loop, but a "
                f"component asks for the split {name!r}: name task.{name}"
            )
        return self._splits[name][:limit] if limit else list(self._splits[name])

    def loaded(self, *splits: Split) -> list[Episode]:
        """The episodes of those splits that are loaded already; this loads none."""
        return [episode for name in splits for episode in self._splits.get(name, ())]

    def _load(self, name: Split) -> None:
        if name not in self._splits:
            loaded = (
                [] if name == "made" else reads.call(self._reader, lambda: list(self._task.load(name)), but=self._data)
            )
            if name == "test" and self._test_limit:
                loaded = loaded[: self._test_limit]
            self._splits[name] = []
            loaded, count = repaired(loaded)
            self.replaced += count
            for episode, references in loaded:
                self._add(episode, references)
                self._splits[name].append(episode)

    def make(self, episodes: Sequence[Episode], references: Mapping[str, References]) -> None:
        """Register episodes that a method generated. The same one may be registered again.

        Raises:
            PluginError: one is not of the split ``made``, contains the context of a test episode, or has the id of
                another one.
        """
        for episode in episodes:
            if episode.split != "made":
                raise PluginError(
                    f"episode {episode.id!r} is of split {episode.split!r}; an episode of a method's own must be 'made'"
                )
            if copied := self._copied(episode):
                raise PluginError(
                    f"episode {episode.id!r} copies the context of test episode {copied!r}: a method may not try out "
                    "its updates on what it is tested on"
                )
            own = references.get(episode.id, {})
            if episode.id not in self._full:
                self._add(episode, own)
                self._splits.setdefault("made", []).append(episode)
            elif self._references[episode.id] != own or _unborn(self._full[episode.id]) != _unborn(episode):
                raise PluginError(
                    f"two different episodes are called {episode.id!r}; a made one needs an id of its own"
                )

    def forget_made(self) -> None:
        """Drop what was made: the next row's method makes its own, and may call it the same."""
        for episode in self._splits.pop("made", ()):
            del self._full[episode.id], self._references[episode.id]

    def _copied(self, made: Episode) -> str:
        """Id of the test episode whose context ``made`` contains, ignoring spaces and case; "" where there is none."""
        mine = texts(made.context)
        whole = canonical(made.context)
        for episode in self.split("test"):
            if not episode.context:
                continue
            theirs = [text for text in texts(episode.context) if len(text) >= PASSAGE]
            if whole == canonical(episode.context) or any(text in one for text in theirs for one in mine):
                return episode.id
        return ""

    def full(self, episode_id: str) -> Episode:
        """The episode with its queries, whatever the method was shown of it. Raises :class:`PluginError` for an unknown
        id."""
        for split in _LOADED:
            if episode_id not in self._full:
                self._load(split)
        if episode_id not in self._full:
            raise PluginError(
                f"there is no episode {episode_id!r}; a method's own must be registered with Session.make"
            )
        return self._full[episode_id]

    def references(self, episode_ids: Sequence[str]) -> dict[str, References]:
        """Episode id -> references, for an evaluator, which may do with its copy what it likes."""
        return {self.full(episode).id: _unshared(self._references[episode]) for episode in episode_ids}

    def identity(self, episode_id: str) -> str:
        """Digest of an episode and its references, on both of which a score depends."""
        return digest([self.full(episode_id), dict(self._references[episode_id])])

    def _add(self, episode: Episode, references: References) -> None:
        if episode.id in self._full:
            raise PluginError(f"task {self._task.name!r} has two episodes with the id {episode.id!r}")
        self._full[episode.id] = episode
        self._references[episode.id] = references


def _unborn(episode: Episode) -> Episode:
    """It without where it comes from: one that was made of two others is still one."""
    return dataclasses.replace(episode, parent=None)


def shown(episode: Episode, sees: str) -> Episode:
    """A copy of the episode as a method may see it, given what its card ``sees``."""
    return copied(episode if sees == "context+queries" else dataclasses.replace(episode, queries=()))


def copied(episode: Episode) -> Episode:
    """The episode with tables and lists of its own, so that whoever changes them changes no other row's."""
    queries = tuple(dataclasses.replace(query, meta=_unshared(query.meta)) for query in episode.queries)
    return dataclasses.replace(episode, context=_unshared(episode.context), queries=queries)


def _unshared(value: Any) -> Any:
    if type(value) is dict:
        return {key: _unshared(one) for key, one in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_unshared, value))
    return value


def texts(value: Any) -> list[str]:
    """All strings within a JSON value, in lower case and with single spaces."""
    if isinstance(value, str):
        return [" ".join(value.casefold().split())]
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return [text for part in parts for text in texts(part)]
