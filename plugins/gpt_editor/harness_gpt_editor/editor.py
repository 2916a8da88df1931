"""The editor ``structured``: SEAL's prompts, answered as JSON by models that follow a schema."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

from harness_seal.editors import TEMPLATES
from pydantic import Field

from harness.api import Completion, EditAsk, EditFailed, Editor, Prompt, Recipe, Request, SelfEdit, Session
from harness.registry.prompt_files import load

SCHEMA = {
    "type": "object",
    "properties": {"lines": {"type": "array", "items": {"type": "string"}}},
    "required": ["lines"],
    "additionalProperties": False,
}
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


@dataclass(frozen=True)
class StructuredSettings:
    """Which prompt is used, how it is sampled, and the form of the answer."""

    prompt: str = "implications"
    """A key of SEAL's prompts."""
    template: str = TEMPLATES
    """The file with the prompts: SEAL's, or the path of your own."""
    structured: Literal["auto", "never"] = "auto"
    """``auto`` asks for JSON if the model follows a schema; ``never`` asks for plain text, as published."""
    temperature: float = 1.0
    """Sampling temperature; 0 is greedy decoding."""
    top_p: float = 1.0
    """The published arm leaves temperature and top_p at the provider's defaults, which are these."""
    max_tokens: Annotated[int, Field(ge=1)] = 2048
    """New tokens per edit."""


class Structured(Editor):
    """The teacher writes an edit; the student learns its lines and the passage.

    Of a JSON answer that was cut off, the complete lines are used. An answer without a line is a ``failed`` edit; one
    that never arrived from the endpoint is an ``error``, and so never counts as wrong.
    """

    Settings: ClassVar[type[StructuredSettings]] = StructuredSettings

    def __init__(self, settings: StructuredSettings) -> None:
        self._settings = settings
        self._form = load(settings.template, settings.prompt, needs=("text",))
        self._as_json = load("harness_gpt_editor:templates/form-1.toml", "form").base

    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Sequence[Sequence[SelfEdit]]:
        """``ask.n`` edits of each ask's passage, written by ``ask.state``."""
        rows = s.generate([self._request(ask, s.lm(ask.state).can) for ask in asks])
        return [
            [self._edit(ask, n, one, s) for n, one in enumerate(completions)]
            for ask, completions in zip(asks, rows, strict=True)
        ]

    def _request(self, ask: EditAsk, can: frozenset[str]) -> Request:
        own = self._settings
        structured = own.structured == "auto" and "schema" in can
        prompt: Prompt = self._form.fill(
            {name: str(ask.episode.context[name]).strip() for name in ("title", "text")}, chat="chat" in can
        )
        if structured:
            prompt = self._asking_for_json(prompt)
        return Request(
            ask.state,
            prompt,
            n=ask.n,
            temperature=own.temperature,
            top_p=own.top_p,
            max_tokens=own.max_tokens,
            seed=ask.seed,
            schema=SCHEMA if structured else None,
        )

    def _asking_for_json(self, prompt: Prompt) -> Prompt:
        if isinstance(prompt, str):
            return f"{prompt.rstrip()}\n\n{self._as_json}\n"
        *before, (role, text) = prompt
        return (*before, (role, f"{text}\n\n{self._as_json}"))

    def _edit(self, ask: EditAsk, n: int, completion: Completion, s: Session) -> SelfEdit:
        episode = ask.episode
        edit = SelfEdit(f"{episode.id}/{n}", episode.id, (), actions=(completion,))
        if completion.finish == "error":
            return edit  # the session marks it
        if completion.finish == "failed":
            return replace(edit, status="failed", reason=completion.reason)
        try:
            text = self._text(completion)
            marker = self._form.extras.get("marker", "")
            lines = Recipe("lines", {"text": text, "marker": marker} if marker else {"text": text})
            s.task.expand(lines, episode, ask.seed)
        except EditFailed as why:
            return replace(edit, status="failed", reason=str(why))
        return replace(edit, data=(lines, Recipe("passage")))

    def _text(self, completion: Completion) -> str:
        if completion.request.schema is not None:
            return "\n".join(lines_of(completion.text, cut=completion.finish == "length"))
        text = completion.text.strip()
        # The cue that the completion continues is part of the text, unless the model wrote it itself.
        cue = self._form.extras.get("cue", "")
        return ("" if text.startswith(cue.strip()) else cue) + text if text else ""


def lines_of(text: str, *, cut: bool) -> list[str]:
    """The lines of a JSON answer, without line breaks; if it was ``cut`` off, the complete strings.

    Raises:
        EditFailed: the answer is not the JSON that was asked for.
    """
    try:
        found = json.loads(text)["lines"]
        if not isinstance(found, list) or not all(isinstance(line, str) for line in found):
            raise TypeError
    except (ValueError, RecursionError, KeyError, TypeError):
        if not cut:
            raise EditFailed("the answer is not the JSON that was asked for") from None
        found = [json.loads(whole, strict=False) for whole in _STRING.findall(text.partition("[")[2])]
    return [" ".join(line.split()) for line in found if line.strip()]
