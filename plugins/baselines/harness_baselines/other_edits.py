"""Another document's edit in place of a passage's own: any gain from it is due to form, not to content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from harness.api import Data, EditAsk, EditFailed, Editor, Episode, Example, Recipe, SelfEdit, Session
from harness.errors import UsageError


class OtherEdits(Editor):
    """Learns the passage with the edits that ``like`` wrote about the next context of the call, under its title.

    Number and form of the sequences are those of a real edit; only their subject differs. The edits are taken from the
    run's cache if another row wrote them.
    """

    nested: ClassVar[Mapping[str, str]] = {"like": "editor"}

    def __init__(self, like: Editor) -> None:
        self._like = like

    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Sequence[Sequence[SelfEdit]]:
        """One edit for each edit of the next context.

        Raises:
            UsageError: all asks are about the same context, so there is no other.
        """
        order = list(dict.fromkeys(ask.episode.id for ask in asks))
        if len(order) < 2:
            raise UsageError("editor 'other-edits' needs at least two contexts, since each gets the edits of another")
        written = self._like.propose(asks, s)
        by_episode = {ask.episode.id: (ask.episode, edits) for ask, edits in zip(asks, written, strict=True)}
        following = dict(zip(order, [*order[1:], order[0]], strict=True))
        return [
            [_about(ask, n, *pair, s) for n, pair in enumerate(_pairs(*by_episode[following[ask.episode.id]]))]
            for ask in asks
        ]


def _pairs(episode: Episode, edits: Sequence[SelfEdit]) -> list[tuple[Episode, SelfEdit]]:
    return [(episode, edit) for edit in edits]


def _about(ask: EditAsk, n: int, episode: Episode, edit: SelfEdit, s: Session) -> SelfEdit:
    """The passage of ``ask`` with the texts of ``edit``, which is about ``episode``."""
    mine = SelfEdit(f"{ask.episode.id}/{n}", ask.episode.id, (), edit.settings, edit.actions)
    if edit.status != "ok":
        return replace(mine, status=edit.status, reason=f"the edit of {episode.id!r}: {edit.reason}")
    data: list[Data] = []
    try:
        for item in edit.data:
            if isinstance(item, Recipe) and item.name in {"passage", "repeat"}:
                data.append(item)
            elif isinstance(item, Recipe):
                data.extend(s.task.expand(item, episode, ask.seed))
            elif isinstance(item, Example):
                data.append(item)
            else:
                raise UsageError(
                    f"editor 'other-edits' cannot exchange a {type(item).__name__}: editor.like must write texts"
                )
    except EditFailed as why:
        return replace(mine, status="failed", reason=f"the edit of {episode.id!r}: {why}")
    return replace(mine, data=tuple(data))
