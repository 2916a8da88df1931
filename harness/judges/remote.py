"""A language model as judge, over the OpenAI protocol: cached on disk, budget-limited, and honest about its failures.

A verdict is cached under everything that shapes it: endpoint, model, instruction, decoding, question, gold and answer.
A verdict that did not arrive is an ``error``; a reply that says neither yes nor no, or both, is ``unparsed``. Neither
is a zero.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

from harness.api import JSON, LM, Component, HarnessError, Ledger, Prompt, Request, State
from harness.books.records import digest
from harness.errors import Parked, UsageError
from harness.files import write_text
from harness.judges.base import Answer, Budget, Grade
from harness.models.openai import OpenAIModel, OpenAISettings
from harness.models.prices import price_of
from harness.reading import read_json
from harness.reads import untracked
from harness.registry import prompt_files

INSTRUCTION = (
    "You check answers to factual questions. You are given a question, the reference answer and a candidate answer. "
    "Count the candidate as right if it states the whole of the reference answer, in any wording, and says nothing "
    "that contradicts it; further information and style do not matter. Judge by the reference answer alone, not by "
    "what you know. Reply with one word: yes or no."
)
MAX_TOKENS = 8
_CHUNK = 256
"""Verdicts that are asked for and kept together; a kill loses at most these."""


class RemoteJudge:
    """Grades with ``openai:MODEL``. Equal triples of question, golds and answer are asked once."""

    def __init__(
        self, model: str, budget: Budget, lm: LM | None = None, base_url: str = "", template: str = ""
    ) -> None:
        """A judge at OpenAI's endpoint, or at ``base_url``, where a key is sent only if there is one.

        Args:
            lm: replaces the endpoint.
            template: a prompt file whose key ``judge`` replaces the built-in words.

        Raises:
            UsageError: a key, a package or a price is missing.
        """
        self.name = f"openai:{model}" + (f"@{base_url}" if base_url else "")
        settings = OpenAISettings(path=model, max_cost=budget.max_cost, batch=budget.batch)
        if base_url:
            price = price_of(model)  # for a proxy to OpenAI; the cost of one's own model is unknown
            settings = dataclasses.replace(
                settings,
                base_url=base_url,
                key_env=settings.key_env if os.environ.get(settings.key_env) else "",
                input_price=price.input if price else None,
                output_price=price.output if price else None,
            )
        self._lm: LM = lm or OpenAIModel(settings)
        self._form = prompt_files.load(template, "judge", ("question", "gold", "answer")) if template else None
        self._identity: JSON = {
            "judge": self.name,
            "endpoint": settings.base_url,
            "instruction": f"{self._form.system}\n{self._form.user}" if self._form else INSTRUCTION,
            "max_tokens": MAX_TOKENS,
            "temperature": 0.0,
        }
        self._budget = budget
        self._calls = 0
        self.ledger: Ledger | None = None

    def grade(self, answers: Sequence[Answer], /) -> list[Grade]:
        found: dict[str, Grade] = {}
        wanted: dict[str, Answer] = {}
        for one in answers:
            key = self._key(one)
            if not one.text.strip():
                found[key] = Grade(0.0)
            elif key not in found and (kept := self._read(key)) is not None:
                found[key] = kept
            elif key not in found:
                wanted.setdefault(key, one)
        todo = list(wanted.items())
        chunk = len(todo) if self._budget.batch else _CHUNK
        for start in range(0, len(todo), chunk or 1):
            found |= self._ask(todo[start : start + chunk])
        return [found[self._key(one)] for one in answers]

    def _key(self, one: Answer) -> str:
        return digest({**self._identity, "question": one.question, "golds": list(one.golds), "answer": one.text})

    def _ask(self, todo: Sequence[tuple[str, Answer]]) -> dict[str, Grade]:
        limit = self._budget.max_calls
        allowed = len(todo) if not limit else max(0, min(len(todo), limit - self._calls))
        found = {
            key: Grade(None, "error", f"not asked: the limit of {limit} judge calls is reached (--max-judge-calls)")
            for key, _ in todo[allowed:]
        }
        if not allowed:
            return found
        self._calls += allowed
        state = State(self._lm.base)
        requests = [Request(state, prompt(one, self._form), max_tokens=MAX_TOKENS) for _, one in todo[:allowed]]
        if isinstance(self._lm, Component):
            self._lm.ledger = self.ledger
        try:
            replies = self._lm.generate(requests)
        except Parked:
            raise
        except HarnessError as error:
            return found | {key: Grade(None, "error", str(error)) for key, _ in todo[:allowed]}
        for (key, _), completions in zip(todo[:allowed], replies, strict=True):
            answer = completions[0]
            found[key] = (
                read_grade(answer.text) if answer.finish in ("stop", "length") else Grade(None, "error", answer.reason)
            )
            if found[key].status != "error":
                self._write(key, found[key], completions[0].text)
        return found

    def _path(self, key: str) -> Path | None:
        return self._budget.cache / key[:2] / f"{key}.json" if self._budget.cache else None

    def _read(self, key: str) -> Grade | None:
        path = self._path(key)
        if path is None or not path.exists():
            return None
        try:
            with untracked():  # cached under everything that shapes it
                return read_grade(read_json(path)["reply"])
        except (UsageError, KeyError, TypeError):
            return None  # A damaged entry is asked again, and replaced.

    def _write(self, key: str, found: Grade, reply: str) -> None:
        path = self._path(key)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps({"judge": self.name, "reply": reply, "status": found.status}) + "\n")


def prompt(one: Answer, form: prompt_files.PromptForm | None = None) -> Prompt:
    """The conversation that asks for one verdict, in the built-in words or those of a template."""
    golds = " or ".join(one.golds)
    if form is not None:
        return form.fill({"question": one.question, "gold": golds, "answer": one.text}, chat=True)
    asked = f"Question: {one.question}\nReference answer: {golds}\nCandidate answer: {one.text}\nRight?"
    return (("system", INSTRUCTION), ("user", asked))


def read_grade(reply: str) -> Grade:
    """What a reply says: yes or no as a whole word, and not both."""
    yes, no = (re.search(rf"\b{word}\b", reply, re.IGNORECASE) is not None for word in ("yes", "no"))
    if yes == no:
        return Grade(None, "unparsed", f"the judge said {reply.strip()[:60]!r}")
    return Grade(float(yes))
