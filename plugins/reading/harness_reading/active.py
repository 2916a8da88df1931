"""The editor ``active-reading``: a model thinks of ways to study a text, and then does them (arXiv 2508.09494)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Annotated, ClassVar

from pydantic import Field

from harness.api import (
    Completion,
    Data,
    EditAsk,
    EditFailed,
    Editor,
    Example,
    Recipe,
    Request,
    SelfEdit,
    Session,
)
from harness.registry.prompt_files import load

_BULLET = re.compile(r"^\s*(?:[-*•]|\(?\d+[.):])?\s*")


@dataclass(frozen=True)
class ActiveReadingSettings:
    """Where the strategies come from, and how many of them are done."""

    template: str = "harness_reading:templates/active-reading-1.toml"
    """A prompt file with the keys ``strategies`` and ``apply``, which has the placeholder ``{strategy}``."""
    strategies: Annotated[int, Field(ge=1)] = 5
    """Strategies that are done, the first ones of the list; a strategy is a line of what the model writes."""
    given: tuple[str, ...] = ()
    """Strategies that are given and not thought of: keys of ``given_template``. For models that cannot think of any."""
    given_template: str = "harness_seal:templates/squad-1.toml"
    """The prompt file with the given strategies."""
    one_way: bool = False
    """A control: the first strategy is done as often as there are strategies, and none of the others."""
    sequences: Annotated[int, Field(ge=0)] = 0
    """Sequences that are learnt beside the passage, taken from the texts in turn; 0 is all."""
    temperature: float = 1.0
    """Sampling temperature; 0 is greedy decoding."""
    top_p: float = 0.95
    """Nucleus sampling: only the most probable tokens that together have this probability are drawn."""
    max_tokens: Annotated[int, Field(ge=1)] = 1024
    """New tokens per text."""
    strategy_tokens: Annotated[int, Field(ge=1)] = 512
    """New tokens for a list of strategies."""


@dataclass(frozen=True)
class _Text:
    """A strategy done: what was written, and what it continues."""

    completion: Completion
    cue: str

    @property
    def whole(self) -> str:
        text = self.completion.text.strip()
        return (self.cue if text and not text.startswith(self.cue.strip()) else "") + text


class ActiveReading(Editor):
    """Two bulk passes, of strategies and of texts. An edit is the texts of one list of strategies, and the passage.

    An edit is ``failed`` where no strategy could be read, or no text is of use; one empty text among others is left
    out.
    """

    Settings: ClassVar[type[ActiveReadingSettings]] = ActiveReadingSettings

    def __init__(self, settings: ActiveReadingSettings) -> None:
        self._settings = settings
        self._given = [load(settings.given_template, key, ("text",)) for key in settings.given]
        if not settings.given:
            self._think = load(settings.template, "strategies", ("text",))
            self._apply = load(settings.template, "apply", ("text", "strategy"))

    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Sequence[Sequence[SelfEdit]]:
        """``ask.n`` edits of each ask's passage, written by ``ask.state``."""
        thought: Sequence[Sequence[Completion | None]] = [[None] * ask.n for ask in asks]
        if not self._settings.given:
            thought = s.generate([self._thinking(ask, s) for ask in asks])
        asked = [
            (place, n, cue, request)
            for place, (ask, row) in enumerate(zip(asks, thought, strict=True))
            for n, one in enumerate(row)
            for cue, request in self._texts(ask, n, one, s)
        ]
        written = s.generate([request for *_, request in asked]) if asked else ()
        texts: dict[tuple[int, int], list[_Text]] = {}
        for (place, n, cue, _), (completion,) in zip(asked, written, strict=True):
            texts.setdefault((place, n), []).append(_Text(completion, cue))
        return [
            [self._edit(ask, n, one, texts.get((place, n), []), s) for n, one in enumerate(row)]
            for place, (ask, row) in enumerate(zip(asks, thought, strict=True))
        ]

    # --- asking ---

    def _thinking(self, ask: EditAsk, s: Session) -> Request:
        own = self._settings
        prompt = self._think.fill(_passage(ask), chat="chat" in s.lm(ask.state).can)
        return Request(ask.state, prompt, ask.n, own.temperature, own.top_p, own.strategy_tokens, seed=ask.seed)

    def _texts(self, ask: EditAsk, n: int, thought: Completion | None, s: Session) -> list[tuple[str, Request]]:
        own, chat, passage = self._settings, "chat" in s.lm(ask.state).can, _passage(ask)
        if thought is None:
            prompts = [(form.extras.get("cue", ""), form.fill(passage, chat=chat)) for form in self._given]
        else:
            strategies = read_strategies(thought.text)[: own.strategies]
            prompts = [("", self._apply.fill({**passage, "strategy": one}, chat=chat)) for one in strategies]
        if own.one_way:
            prompts = prompts[:1] * len(prompts)
        seeds = [s.seed("active reading", ask.seed, n, place) for place in range(len(prompts))]
        return [
            (cue, Request(ask.state, prompt, 1, own.temperature, own.top_p, own.max_tokens, seed=seed))
            for (cue, prompt), seed in zip(prompts, seeds, strict=True)
        ]

    # --- from texts to edits ---

    def _edit(self, ask: EditAsk, n: int, thought: Completion | None, texts: Sequence[_Text], s: Session) -> SelfEdit:
        episode = ask.episode
        name = f"{episode.id}/{n}"
        actions = (*([thought] if thought else []), *(one.completion for one in texts))
        learnt: list[tuple[Recipe, Sequence[Example]]] = []
        for one in texts:
            recipe = Recipe("lines", {"text": one.whole})
            try:
                learnt.append((recipe, s.task.expand(recipe, episode, ask.seed)))
            except EditFailed:
                continue
        if not learnt:
            reason = next((one.reason for one in actions if one.finish == "failed"), "") or (
                "no text came of its strategies" if texts else "no strategy could be read"
            )
            return SelfEdit(name, episode.id, (), actions=actions, status="failed", reason=reason)
        data: list[Data] = [recipe for recipe, _ in learnt]
        if self._settings.sequences:
            turns = zip_longest(*(examples for _, examples in learnt))
            data = [one for turn in turns for one in turn if one is not None][: self._settings.sequences]
        return SelfEdit(name, episode.id, (*data, Recipe("passage")), actions=actions)


def read_strategies(text: str) -> list[str]:
    """The lines of a list, without bullets and numbers, in order and without repetition; headings are left out."""
    lines = [_BULLET.sub("", line, count=1).strip() for line in text.splitlines()]
    return list(dict.fromkeys(line for line in lines if any(map(str.isalpha, line)) and not line.endswith(":")))


def _passage(ask: EditAsk) -> dict[str, str]:
    return {name: str(ask.episode.context.get(name, "")).strip() for name in ("title", "text")}
