"""A scripted model that can read and does not know: it answers from the passage in its prompt, or guesses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness_baselines.open_book import OpenBook

from harness.api import Query, Request
from harness.evaluators.closed_book import ClosedBook
from harness.session.service import SessionService
from harness.testing.scripted import ScriptedLM, ScriptedTask, open_session
from tests.learning import Learner

FACTS = {"Arbo": "red", "Belto": "blue", "Cando": "green", "Dervi": "black"}
"""Entity -> its colour; every document is about one of them."""


class Colours(ScriptedTask):
    """Documents about entities; the train split has labelled questions on the same documents."""

    def solutions(self, query: Query, /) -> Sequence[str]:
        return tuple(colour for name, colour in FACTS.items() if name in query.text)


def text(name: str) -> str:
    return f"It is known that {name} is {FACTS[name]}, whatever some people say about it."


def reader(request: Request, n: int, known: frozenset[str] = frozenset()) -> str:
    """Writes questions, lists topics, reads; with the book closed it knows ``known`` and guesses ``pink``."""
    prompt = str(request.prompt)
    name = next((one for one in FACTS if one in prompt.rpartition("Question:")[2]), None)
    if "into questions" in prompt:
        name = next(one for one in FACTS if one in prompt)
        asked = [f"Question {k}: {w} {name}?\nAnswer: {FACTS[name]}" for k, w in enumerate(WORDINGS[n % 2], 1)]
        return "\n".join(asked).removeprefix("Question 1:")
    if "List the names" in prompt:
        return "\n".join(f"- {one}" for one in FACTS if one in prompt) + "\n2. pale thing"
    if name is None:
        return ""
    return FACTS[name] if f"{name} is" in prompt or name in known else "pink"


WORDINGS = (
    ("What colour has", "Which colour is", "Of what colour is"),
    ("How is the colour of", "Name the colour of", "Which colour is"),
)


def opened(
    folder: Path, rule: Any = reader, golds: Mapping[str, str] = FACTS, sees: Any = "context"
) -> tuple[SessionService, ScriptedLM, Learner, Learner]:
    """A session, its model, and the learners of the slots ``sft`` and ``dpo``."""
    splits = {
        "test": {f"{name} page": (text(name), {f"Say the colour of {name}.": [golds[name]]}) for name in FACTS},
        "train": {f"{name} labelled": (text(name), {f"The colour of {name}?": [golds[name]]}) for name in FACTS},
    }
    model, sft, dpo = ScriptedLM(rule), Learner(), Learner()
    judged = ClosedBook(ClosedBook.Settings(judge="exact"))
    slots: dict[str, tuple[str, Any]] = {
        "sft": ("updater", sft),
        "dpo": ("updater", dpo),
        "evaluator": ("evaluator", judged),
        "oracle": ("evaluator", OpenBook(ClosedBook(ClosedBook.Settings(judge="exact")))),
    }
    s = open_session(folder, Colours(splits), {"teacher": model}, slots, roles={"student": "@teacher"}, sees=sees)
    return s, model, sft, dpo
