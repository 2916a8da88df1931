"""Self-edits that no model writes: the passage itself, as training data or in the prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from harness.api import Data, EditAsk, Editor, Example, MemoryOps, Recipe, SelfEdit, Session
from harness.errors import UsageError


class Passage(Editor):
    """Learn the passage, once. The edit is the same whatever ``n`` is, so there is only one."""

    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Sequence[Sequence[SelfEdit]]:
        """One edit per passage."""
        return [[_edit(ask, 0, (Recipe("repeat", {"times": 1}),))] for ask in asks]


class PassageRepeat(Editor):
    """Learn the passage once for every sequence in another editor's edits.

    The same number of sequences gives the same number of optimiser steps, so the remaining difference is due to what
    the edits say. The edits of ``like`` are written (or taken from the run's cache if another row wrote them) and
    discarded.
    """

    nested: ClassVar[Mapping[str, str]] = {"like": "editor"}

    def __init__(self, like: Editor) -> None:
        self._like = like

    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Sequence[Sequence[SelfEdit]]:
        """One edit for each edit of ``like``, in order."""
        return [[_in_place_of(edit) for edit in edits] for edits in self._like.propose(asks, s)]


class AtHand(Editor):
    """Learn nothing; put the passage into the prompt when questions are asked."""

    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Sequence[Sequence[SelfEdit]]:
        """One edit per passage."""
        return [[_edit(ask, 0, (MemoryOps(({"set": {"passage": ask.episode.context["text"]}},)),))] for ask in asks]


def _edit(ask: EditAsk, n: int, data: tuple[Data, ...]) -> SelfEdit:
    return SelfEdit(f"{ask.episode.id}/{n}", ask.episode.id, data)


def _in_place_of(edit: SelfEdit) -> SelfEdit:
    """The edit with the passage in place of every sequence; of a failed edit, only the passage that it included."""
    if edit.status == "error" or any(action.finish == "error" for action in edit.actions):
        return replace(edit, data=())
    return SelfEdit(edit.id, edit.episode, tuple(_matched(item) for item in edit.data))


def _matched(item: Data) -> Data:
    if isinstance(item, Example):
        return Recipe("repeat", {"times": 1})
    if isinstance(item, Recipe) and item.name == "lines":
        return Recipe("repeat", {"match": item.args})
    if isinstance(item, Recipe) and item.name in {"passage", "repeat"}:
        return item
    what = f"the recipe {item.name!r}" if isinstance(item, Recipe) else f"a {type(item).__name__}"
    raise UsageError(f"editor 'passage-repeat' cannot match {what}: editor.like must write texts about a passage")
