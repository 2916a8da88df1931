"""The passage repeated to the number of tokens in an edit: the same text budget, nothing rewritten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from harness.api import EditAsk, EditFailed, Editor, Episode, Example, Recipe, SelfEdit, Session


class PassageRepeatTokens(Editor):
    """Repeats the passage until it has as many tokens as the sequences of another editor's edit.

    ``passage-repeat`` matches sequences, and so optimiser steps; this one matches tokens, counted by the student's
    tokenizer. The passage is learnt whole and at least once, so the match is to within half a passage.
    """

    nested: ClassVar[Mapping[str, str]] = {"like": "editor"}

    def __init__(self, like: Editor) -> None:
        self._like = like

    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Sequence[Sequence[SelfEdit]]:
        """One edit for each edit of ``like``, in order."""
        written = self._like.propose(asks, s)
        texts: list[str] = []
        for ask, edits in zip(asks, written, strict=True):
            texts += _texts((Recipe("repeat", {"times": 1}),), ask.episode, s)
            for edit in edits:
                texts += _texts(edit.data, ask.episode, s)
        count = _counts(list(dict.fromkeys(texts)), s)
        rows = []
        for ask, edits in zip(asks, written, strict=True):
            passage = sum(count[text] for text in _texts((Recipe("repeat", {"times": 1}),), ask.episode, s))
            row = []
            for edit in edits:
                if edit.status == "error":
                    row.append(replace(edit, data=(), actions=()))
                    continue
                tokens = sum(count[text] for text in _texts(edit.data, ask.episode, s))
                times = max(1, round(tokens / max(1, passage)))
                row.append(SelfEdit(edit.id, edit.episode, (Recipe("repeat", {"times": times}),)))
            rows.append(row)
        return rows


def _texts(data: Sequence[object], episode: Episode, s: Session) -> list[str]:
    """The training texts made from data; none where a recipe fails."""
    found: list[str] = []
    for item in data:
        try:
            examples = s.task.expand(item, episode, 0) if isinstance(item, Recipe) else [item]
        except EditFailed:
            examples = []
        found += [str(example.prompt) + example.target for example in examples if isinstance(example, Example)]
    return found


def _counts(texts: Sequence[str], s: Session) -> dict[str, int]:
    """The number of the student's tokens in each text, by counting its log-probabilities."""
    student = s.roles["student"]
    rows = s.lm(student).logprobs([(student, "", text) for text in texts])
    return {text: len(row) for text, row in zip(texts, rows, strict=True)}
