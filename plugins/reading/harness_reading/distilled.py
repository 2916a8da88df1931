"""The editor ``distilled``: an edit that is learnt from what the model says of it with the passage in view.

The teacher is the model that the update starts from, and differs from the student only in what it reads. So it needs no
label and no other model; it corrects what the edit got wrong wherever it reads better than it writes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from harness.api import (
    Data,
    Distillation,
    EditAsk,
    EditFailed,
    Editor,
    Example,
    Prompt,
    Query,
    Recipe,
    SelfEdit,
    Session,
    UpdateJob,
)

_PAIR = re.compile(r"Question\s*\d*\s*:\s*(\S.*?)\s*\n\s*Answer\s*\d*\s*:\s*(\S[^\n]*)", re.S)


@dataclass(frozen=True)
class DistilledSettings:
    """What becomes of the inner editor's texts."""

    of: Literal["answers", "sequences"] = "answers"
    """``answers``: the text's questions, put as the task puts questions; the student is asked without the passage and
    the teacher with it, and the answer is learnt (prompt distillation, arXiv 2412.14964). ``sequences``: every sequence
    that the task makes of the text, which the teacher reads after the passage (arXiv 2209.15189)."""
    learn: Literal["distribution", "tokens"] = "distribution"
    """``tokens`` is a control: the same answers or sequences under the same prompts, learnt as written."""
    passage: bool = True
    """Whether the passage's own text is learnt too, as tokens, as it is with SEAL's edits."""
    top: Annotated[int, Field(ge=1)] = 32
    """Tokens of each distribution that are kept; the rest counts as one."""


class Distilled(Editor):
    """Has ``inner`` write an edit, and learns it from the model that has the passage in view.

    An edit that the inner editor or the task calls failed stays failed. One without a question and its answer is
    learnt as sequences.
    """

    Settings: ClassVar[type[DistilledSettings]] = DistilledSettings
    nested: ClassVar[Mapping[str, str]] = {"inner": "editor"}

    def __init__(self, settings: DistilledSettings, inner: Editor) -> None:
        self._settings = settings
        self._inner = inner

    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Sequence[Sequence[SelfEdit]]:
        """The inner editor's edits, each with its data replaced."""
        rows = self._inner.propose(asks, s)
        return [[self._distilled(ask, edit, s) for edit in row] for ask, row in zip(asks, rows, strict=True)]

    def _distilled(self, ask: EditAsk, edit: SelfEdit, s: Session) -> SelfEdit:
        if edit.status != "ok":
            return edit
        written = replace(edit, data=tuple(d for d in edit.data if not _is_passage(d)))
        try:
            found = s.expand(UpdateJob(edit.id, ask.state, (written,), ask.seed))
        except EditFailed as why:
            return replace(edit, status="failed", reason=str(why))
        sequences = [one for one in found if isinstance(one, Example)]
        data = self._answers(ask, sequences, s) if self._settings.of == "answers" else []
        data = data or self._sequences(ask, sequences)
        return replace(edit, data=(*data, *([Recipe("passage")] if self._settings.passage else [])))

    def _answers(self, ask: EditAsk, sequences: Sequence[Example], s: Session) -> list[Data]:
        chat = "chat" in s.lm(ask.state).can
        context = ask.episode.context
        meta = {"title": str(context.get("title", ""))}
        pairs: dict[str, str] = {}
        for one in sequences:
            for question, answer in _PAIR.findall(one.target):
                pairs.setdefault(" ".join(question.split()), answer.strip())
        out = []
        for place, (question, answer) in enumerate(pairs.items()):
            query = Query(f"{ask.episode.id}/own/{place}", question, meta)
            alone = s.task.prompt(query, {}, chat=chat)
            reading = s.task.prompt(query, {"passage": str(context["text"])}, chat=chat)
            out.append(self._data(alone, answer, reading))
        return out

    def _sequences(self, ask: EditAsk, sequences: Sequence[Example]) -> list[Data]:
        text = str(ask.episode.context["text"]).strip()
        return [
            self._data(one.prompt, one.target, f"{text}\n\n{one.prompt}")
            for one in sequences
            if isinstance(one.prompt, str)
        ]

    def _data(self, prompt: Prompt, target: str, reading: Prompt) -> Data:
        if self._settings.learn == "tokens":
            return Example(prompt, target)
        return Distillation(prompt, target, reading, "start", self._settings.top)


def _is_passage(data: Data) -> bool:
    return isinstance(data, Recipe) and data.name == "passage"
