"""The editor ``recorded``: published self-edits, to compare updaters, models and evaluators on the same edits.

A file is a JSON list of ``{title, context, completions, prompt}``, as SEAL's repository publishes its synthetic data.
Passages are matched by their text; nothing is generated and no model is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from harness.api import Completion, EditAsk, Editor, Recipe, Request, SelfEdit, Session
from harness.errors import UsageError
from harness.reading import user_path
from harness_replay.questions import load_json


@dataclass(frozen=True)
class RecordedSettings:
    """Which recorded edits are used."""

    edits: str = ""
    """The file with the edits; required."""
    first: int = 0
    """Index of the completion for the first sample, from 0; further samples take the next ones."""


class Recorded(Editor):
    """Proposes the recorded completions of each passage, in their order.

    An empty completion is an edit that trains on the passage alone, as in the published control arm.
    """

    Settings: ClassVar[type] = RecordedSettings

    def __init__(self, settings: RecordedSettings) -> None:
        if not settings.edits:
            raise UsageError("editor 'recorded' needs a file of edits: --set editor.edits=FILE")
        if settings.first < 0:
            raise UsageError(f"editor.first: {settings.first} is not the index of a completion; the first is 0")
        self._settings = settings

    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Sequence[Sequence[SelfEdit]]:
        """One recorded completion per sample. Raises ``UsageError`` if the file lacks a passage or a completion."""
        return [self._edits(ask) for ask in asks]

    def _edits(self, ask: EditAsk) -> list[SelfEdit]:
        record = self._records.get(str(ask.episode.context.get("text", "")).strip())
        if record is None:
            raise UsageError(
                f"{self._settings.edits}: no edit for the passage {ask.episode.context.get('title', ask.episode.id)!r} "
                f"({ask.episode.id}); choose the passages that it was recorded for, such as with --set task.subset"
            )
        texts = record["completions"][self._settings.first : self._settings.first + ask.n]
        if len(texts) < ask.n:
            raise UsageError(
                f"{self._settings.edits}: {len(record['completions'])} completions for {record['title']!r}, "
                f"{self._settings.first + ask.n} are needed; take fewer --samples"
            )
        request = Request(ask.state, record.get("prompt") or "", temperature=1.0, top_p=0.95, max_tokens=8192)
        return [
            SelfEdit(f"{ask.episode.id}/{index}", ask.episode.id, _data(text), actions=(Completion(request, text),))
            for index, text in enumerate(texts)
        ]

    @cached_property
    def _records(self) -> dict[str, dict[str, Any]]:
        path = user_path(self._settings.edits)
        raw = load_json(path)
        if not isinstance(raw, list):
            raise UsageError(f"{path}: not a list of passages with completions")
        records: dict[str, dict[str, Any]] = {}
        for number, record in enumerate(raw):
            for name, kind in (("title", str), ("context", str), ("completions", list)):
                if not isinstance(record, dict) or not isinstance(record.get(name), kind):
                    raise UsageError(f"{path}: record {number}: {name} is missing, or not a {kind.__name__}")
            if not all(isinstance(text, str) for text in record["completions"]):
                raise UsageError(f"{path}: record {number}: completions must be texts")
            if not isinstance(record.get("prompt", ""), str | None):
                raise UsageError(f"{path}: record {number}: prompt is not a text")
            text = record["context"].strip()
            if text in records:
                raise UsageError(f"{path}: record {number} repeats the passage of an earlier one")
            records[text] = record
        return records


def _data(text: str) -> tuple[Recipe, ...]:
    if not text.strip():
        return (Recipe("passage"),)
    return (Recipe("lines", {"text": text}), Recipe("passage"))
