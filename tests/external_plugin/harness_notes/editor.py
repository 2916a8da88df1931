"""The editor ``notes``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.api import Completion, EditAsk, Editor, Recipe, Request, SelfEdit, Session


@dataclass(frozen=True)
class NotesSettings:
    """The prompt for notes, and how they are sampled."""

    temperature: float = 0.8
    max_tokens: int = 96


class Notes(Editor):
    """The model continues the passage with a list of notes; each line is learnt, and the passage too."""

    Settings = NotesSettings

    def __init__(self, settings: NotesSettings) -> None:
        self._settings = settings

    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Sequence[Sequence[SelfEdit]]:
        requests = [
            Request(
                ask.state,
                f"{ask.episode.context['title']}\n{ask.episode.context['text']}\n\nNotes:\n-",
                n=ask.n,
                temperature=self._settings.temperature,
                max_tokens=self._settings.max_tokens,
                seed=ask.seed,
            )
            for ask in asks
        ]
        rows = s.generate(requests)
        return [
            [_edit(ask, number, completion) for number, completion in enumerate(row)]
            for ask, row in zip(asks, rows, strict=True)
        ]


def _edit(ask: EditAsk, number: int, completion: Completion) -> SelfEdit:
    lines = [line.strip("-• ").strip() for line in completion.text.splitlines()]
    text = "\n".join(line for line in lines if any(map(str.isalnum, line)))
    return SelfEdit(
        f"{ask.episode.id}/{number}",
        ask.episode.id,
        (Recipe("lines", {"text": text}), Recipe("passage")),
        actions=(completion,),
        status="ok" if text else "failed",
        reason="" if text else "no notes in it",
    )
