"""What is learnt of answered questions: examples, and preferences of what is right over what the model says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from harness.api import Data, Example, Preference, SelfEdit, Session, State
from harness_self_study.questions import Question, Written, closed_prompt


def lessons(s: Session, state: State, questions: Sequence[Question], *name: object) -> list[SelfEdit]:
    """Each question with its right answer, without the document; one edit per document."""
    return _edits([(one, Example(closed_prompt(s, state, one), one.right)) for one in questions], *name)


def writings(written: Sequence[Written], *name: object) -> list[SelfEdit]:
    """What was written on each document, as a continuation of the prompt that asked for it."""
    out = []
    for one in written:
        data = tuple(Example(text.request.prompt, text.text) for text in one.texts if text.text.strip())
        if data:
            out.append(SelfEdit(_name(one.document.id, *name), one.document.id, data, actions=one.texts))
    return out


def corrections(
    s: Session, state: State, questions: Sequence[Question], said: Sequence[str | None], *name: object
) -> list[SelfEdit]:
    """The right answer preferred to what the state says with the book closed, where the two differ.

    With the open-book answer of the same model as the right one, these are AL's pairs (ACL 2025 Findings 1084); with
    the questions of an exam, they are the pairs that ALAS makes of failures (arXiv 2508.15805).

    Args:
        state: who answered, and who learns.
        said: parallel to ``questions``; where no answer was given there is nothing to reject, and no pair.
    """
    return _edits(
        [
            (one, Preference(closed_prompt(s, state, one), one.right, answer))
            for one, answer in zip(questions, said, strict=True)
            if answer and not s.task.same(one.query, answer, one.right)
        ],
        *name,
    )


def count(edits: Iterable[SelfEdit]) -> int:
    """Training items in all."""
    return sum(len(edit.data) for edit in edits)


def _edits(found: Sequence[tuple[Question, Data]], *name: object) -> list[SelfEdit]:
    of: dict[str, list[Data]] = {}
    for question, item in found:
        of.setdefault(question.document.id, []).append(item)
    return [SelfEdit(_name(document, *name), document, tuple(data)) for document, data in of.items()]


def _name(*parts: object) -> str:
    return "/".join(map(str, parts))
