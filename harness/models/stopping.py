"""Stop texts: detecting that one has been generated, and cutting the text there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.models.prompts import PromptEncoder


class StopTexts:
    """Tells the engine when a stop text has been generated; called with a row's ids after every token."""

    def __init__(self, prompts: PromptEncoder, stop: Sequence[str]) -> None:
        self._prompts = prompts
        self.texts = tuple(mark for mark in stop if mark)
        # A text that ends in the newest token spans at most as many tokens as it has bytes; with a few more, the
        # decoder starts at a whole character.
        self._window = max((len(mark.encode()) for mark in self.texts), default=0) + 8

    def __call__(self, ids: Sequence[int]) -> bool:
        tail = self._prompts.decode(ids[-self._window :])
        return any(mark in tail for mark in self.texts)


def cut(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """The text before the first stop text in it, and whether there was one."""
    cuts = [place for place in (text.find(mark) for mark in stop if mark) if place >= 0]
    return (text[: min(cuts)], True) if cuts else (text, False)
