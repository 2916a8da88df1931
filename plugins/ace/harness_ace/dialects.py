"""What the reflector and the curator are asked, and what is read of their answers, for the kinds of models there are.

``json`` is for instruct models: prompts of a file, answers in JSON. ``notes`` is for the embedded model of counting
stories, which was taught three short registers: a note on a verb, reflection on a chain, and rewriting a list of notes.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from harness.api import Prompt
from harness.registry.prompt_files import PromptForm, load
from harness_ace.playbook import Add, Bullet, Playbook

TEMPLATE = "harness_ace:templates/ace-1.toml"


@dataclass(frozen=True)
class Case:
    """One question that the generator answered."""

    id: str
    question: str
    answer: str
    right: bool | None
    """The feedback bit; None where it is hidden."""
    seed: int


@dataclass(frozen=True)
class Reflection:
    """What the reflector says of a case."""

    insight: str
    """"" where there is nothing to be learnt."""
    tags: Mapping[str, int]
    """Bullet id -> +1 helpful, -1 harmful."""


class Dialect(Protocol):
    """Prompts of the roles, and readers of their answers; a reader returns None for an answer that it cannot read."""

    def render(self, bullets: Sequence[Bullet]) -> str: ...

    def reflect(self, case: Case, book: Playbook, *, chat: bool) -> Prompt: ...

    def reflection(self, text: str, case: Case, book: Playbook) -> Reflection | None: ...

    def curate(self, case: Case, insight: str, book: Playbook, *, chat: bool) -> Prompt | None:
        """None where an insight is a delta already, and no curator is asked."""
        ...

    def delta(self, text: str) -> tuple[list[Add], int] | None:
        """The additions, and how many operations of other kinds were ignored."""
        ...

    def rewrite(self, insights: Sequence[str], book: Playbook, *, chat: bool) -> Prompt: ...

    def rewritten(self, text: str) -> list[Add] | None: ...


def dialect(name: str, template: str) -> Dialect:
    """The dialect of that name."""
    return Notes() if name == "notes" else Json(template)


class Json:
    """Own prompts for instruct models; they answer in JSON objects, and anything around these is passed over."""

    def __init__(self, template: str) -> None:
        self._reflect = load(template, "reflect", ("question", "answer", "feedback", "playbook"))
        self._curate = load(template, "curate", ("insight", "playbook"))
        self._rewrite = load(template, "rewrite", ("insights", "playbook"))
        self._told = load(template, "feedback").extras

    def render(self, bullets: Sequence[Bullet]) -> str:
        """The playbook by sections; "" for an empty one."""
        lines = []
        for section in dict.fromkeys(one.section for one in bullets):
            lines += [f"## {section}", *(f"[{one.id}] {one.text}" for one in bullets if one.section == section)]
        return "\n".join(lines)

    def reflect(self, case: Case, book: Playbook, *, chat: bool) -> Prompt:
        told = self._told["hidden" if case.right is None else "right" if case.right else "wrong"]
        values = {"question": case.question, "answer": case.answer, "feedback": told}
        return self._filled(self._reflect, book, values, chat=chat)

    def reflection(self, text: str, case: Case, book: Playbook) -> Reflection | None:
        found = _object(text)
        if found is None or not isinstance(found.get("insight", ""), str):
            return None
        tags = {}
        given = found.get("bullets", [])
        for one in given if isinstance(given, list) else []:
            if isinstance(one, dict) and isinstance(one.get("id"), str):
                tags[one["id"].strip("[] ")] = {"helpful": 1, "harmful": -1}.get(str(one.get("tag")), 0)
        return Reflection(found.get("insight", "").strip(), tags)

    def curate(self, case: Case, insight: str, book: Playbook, *, chat: bool) -> Prompt:
        return self._filled(self._curate, book, {"insight": insight, "question": case.question}, chat=chat)

    def delta(self, text: str) -> tuple[list[Add], int] | None:
        found = _object(text)
        operations = found.get("operations") if found else None
        if not isinstance(operations, list):
            return None
        adds = [add for one in operations if (add := _add(one)) is not None]
        return adds, len(operations) - len(adds)

    def rewrite(self, insights: Sequence[str], book: Playbook, *, chat: bool) -> Prompt:
        values = {"insights": "\n".join(f"- {one}" for one in insights)}
        return self._filled(self._rewrite, book, values, chat=chat)

    def rewritten(self, text: str) -> list[Add] | None:
        lines = [line.strip().lstrip("-*• ").strip() for line in text.splitlines()]
        return [Add("playbook", line) for line in lines if line and not line.startswith("#")] or None

    def _filled(self, form: PromptForm, book: Playbook, values: Mapping[str, str], *, chat: bool) -> Prompt:
        shown = self.render(book.bullets) or "(empty)"
        return form.fill({**values, "playbook": shown}, chat=chat)


class Notes:
    """The registers of the embedded model: a note says which plain verb a hard one means, "rents gets."."""

    @cached_property
    def _world(self) -> Any:
        from harness_lab_maths import world

        return world

    def render(self, bullets: Sequence[Bullet]) -> str:
        return " ".join(f"note {one.text}" for one in bullets)

    def reflect(self, case: Case, book: Playbook, *, chat: bool) -> Prompt:
        """The register knows right and wrong only: where the bit is hidden, a coin says which."""
        right = case.right if case.right is not None else random.Random(case.seed).random() < 0.5
        return str(self._world.ask_reflect(case.question, case.answer, right=right))

    def reflection(self, text: str, case: Case, book: Playbook) -> Reflection | None:
        """The shown bullets on verbs of the question were used; they helped where the answer was right."""
        asked = set(case.question.split())
        used = [one for one in book.shown() if one.about in asked]
        tags = {} if case.right is None else {one.id: 1 if case.right else -1 for one in used}
        said = text.strip()
        if said == self._world.NO_NOTE:
            return Reflection("", tags)
        return Reflection(said, tags) if self._world.parse_note(said) else None

    def curate(self, case: Case, insight: str, book: Playbook, *, chat: bool) -> None:
        return None

    def delta(self, text: str) -> tuple[list[Add], int] | None:
        """The note, in the one of its wordings that stands for all that mean the same."""
        found = self._world.parse_note(text)
        return ([self._add(*found)], 0) if found else None

    def rewrite(self, insights: Sequence[str], book: Playbook, *, chat: bool) -> Prompt:
        return str(self._world.ask_rewrite([one.text for one in book.bullets], insights))

    def rewritten(self, text: str) -> list[Add] | None:
        found = [self._world.parse_note(one) for one in self._world.notes_in(text)]
        return [Add("verbs", f"{verb} {plain}.", verb) for verb, plain in filter(None, found)] or None

    def _add(self, verb: str, plain: str) -> Add:
        sign = self._world.PLAIN[plain]
        first = next(other for other, its in self._world.PLAIN.items() if its == sign)
        return Add("verbs", f"{verb} {first}.", verb)


def _add(one: Any) -> Add | None:
    """An operation as an addition; None for what is none, or not well-formed."""
    if not isinstance(one, dict) or str(one.get("type", "")).upper() != "ADD":
        return None
    text = one.get("content")
    section = one.get("section")
    if not isinstance(text, str) or not text.strip():
        return None
    return Add(section.strip() if isinstance(section, str) and section.strip() else "others", text)


def _object(text: str) -> dict[str, Any] | None:
    """The first JSON object in a text; None where there is none that is whole."""
    start = text.find("{")
    while start >= 0:
        try:
            found, _ = json.JSONDecoder().raw_decode(text, start)
        except ValueError:
            start = text.find("{", start + 1)
            continue
        return found if isinstance(found, dict) else None
    return None
