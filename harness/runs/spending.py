"""What a run's remote editors would cost, before anything is sent: they are run against a model that only counts.

Prompts are counted at four characters per token, and every answer at the most that it may have, so the price is an
upper bound but for prompts in scripts that take more tokens. What an editor asks in answer to an answer (EntiGraph's
texts after its lists) is not known beforehand and not in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.api import JSON, Completion, EditAsk, Editor, Model, Prompt, Request, State, Task
from harness.books.episodes import EpisodeBook, shown
from harness.books.records import derive_seed
from harness.models.openai import OpenAIModel, OpenAISettings
from harness.models.prices import price_of
from harness.registry.build import build
from harness.registry.discover import Plugins
from harness.registry.settings import check_settings
from harness.runs.config import Arm, Config

_CHARACTERS_A_TOKEN = 4


@dataclass(frozen=True)
class Bill:
    """What the test edits of one method ask of a remote model."""

    method: str
    model: str
    calls: int
    prompt_tokens: int
    completion_tokens: int
    """At most."""
    usd: float | None
    """At most; None where the price table has no such model."""

    def line(self) -> str:
        price = "its price is not known" if self.usd is None else f"at most ${self.usd:.2f}"
        return (
            f"{self.method}: {self.calls} calls of {self.model} for the test edits of a seed, about "
            f"{self.prompt_tokens:,} prompt tokens and at most {self.completion_tokens:,} written ones: {price}"
        )


def bills(config: Config, plugins: Plugins, task: Task) -> list[Bill]:
    """One bill for each method whose teacher is reached over the ``openai`` backend."""
    book = EpisodeBook(task, config.options.limit)
    return [bill for arm in config.arms if (bill := _bill(arm, config, plugins, task, book)) is not None]


def _bill(arm: Arm, config: Config, plugins: Plugins, task: Task, book: EpisodeBook) -> Bill | None:
    table = arm.roles.get("teacher")
    editor = arm.slots.get("editor")
    if not isinstance(table, Mapping) or table["use"] != "openai" or editor is None:
        return None
    given = {name: value for name, value in table.items() if name != "use"}
    settings: OpenAISettings = check_settings(OpenAISettings, given, "roles.teacher", "model 'openai'")
    counter = _Counter(settings)
    session: Any = _Counting(task, counter)
    asks = [
        EditAsk(shown(episode, arm.method.sees), State(counter.base), config.options.samples, 0)
        for episode in book.split("test")
    ]
    component = {name: value for name, value in editor.items() if name != "kind"}
    build(plugins, Editor, component, "editor").instance.propose(asks, session)
    listed = price_of(settings.path, settings.prices)
    paid_in = settings.input_price if settings.input_price is not None else (listed.input if listed else None)
    paid_out = settings.output_price if settings.output_price is not None else (listed.output if listed else None)
    usd = None
    if paid_in is not None and paid_out is not None:
        usd = (counter.prompt_tokens * paid_in + counter.completion_tokens * paid_out) / 1e6
    return Bill(arm.method.name, counter.base, counter.calls, counter.prompt_tokens, counter.completion_tokens, usd)


class _Counter(Model):
    """A model that declines everything and remembers how much it was asked."""

    def __init__(self, settings: OpenAISettings) -> None:
        self.base = f"openai:{settings.path}"
        self.can = OpenAIModel.abilities(settings)
        self.calls = self.prompt_tokens = self.completion_tokens = 0

    def generate(self, asks: Sequence[Request], /) -> list[list[Completion]]:
        for ask in asks:
            self.calls += 1
            self.prompt_tokens += -(-len(_text(ask.prompt)) // _CHARACTERS_A_TOKEN)
            self.completion_tokens += ask.n * ask.max_tokens
        return [[Completion(ask, "", finish="failed", reason="not sent") for _ in range(ask.n)] for ask in asks]


class _Counting:
    """As much of a session as an editor needs to write its prompts."""

    def __init__(self, task: Task, counter: _Counter) -> None:
        self.task = task
        self.settings: JSON = {}
        self._counter = counter

    def lm(self, who: Any) -> _Counter:
        return self._counter

    def generate(self, requests: Sequence[Request], /) -> list[list[Completion]]:
        return self._counter.generate(requests)

    def seed(self, *name: object) -> int:
        return derive_seed(0, *name)

    def keep(self, name: str, value: JSON | None = None) -> JSON | None:
        return value


def _text(prompt: Prompt) -> str:
    return prompt if isinstance(prompt, str) else "".join(text for _, text in prompt)
