"""What a run's remote editors would cost: they are run against a model that only counts, and nothing is sent.

Prompts are counted at four characters per token and answers at their maximum length, so the price is an upper bound,
except for prompts in scripts that take more tokens. Requests that depend on earlier answers (EntiGraph's texts after
its lists) are not known beforehand, and not included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.api import JSON, Completion, EditAsk, Editor, Model, Prompt, Quote, Request, State, Task
from harness.books.episodes import EpisodeBook, shown
from harness.books.records import derive_seed
from harness.registry.build import build, component_class
from harness.registry.discover import Plugins
from harness.registry.plugin import blaming
from harness.registry.settings import check_settings
from harness.runs.config import Config
from harness.runs.layers import Arm
from harness.runs.plan import only_tests

_CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True)
class Bill:
    """What the test edits of one method ask of a remote model."""

    method: str
    model: str
    calls: int
    prompt_tokens: int
    completion_tokens: int
    """Upper bound."""
    usd: float | None
    """Upper bound in US dollars; None where the price table has no such model."""

    def line(self) -> str:
        price = "price unknown" if self.usd is None else f"at most ${self.usd:.2f}"
        return (
            f"{self.method}: {self.calls} calls of {self.model} for the test edits of a seed, about "
            f"{self.prompt_tokens:,} prompt tokens and at most {self.completion_tokens:,} completion tokens: {price}"
        )


def is_local(plugins: Plugins, table: JSON) -> bool:
    """Whether a model, with its nested models, needs nothing but this machine."""
    cls = component_class(plugins, "model", str(table["use"])).cls
    inner = (table.get(name) for name, kind in cls.nested.items() if kind == "model")
    return bool(cls.local) and all(is_local(plugins, _table(one)) for one in inner)


def check_models(config: Config, plugins: Plugins) -> None:
    """Refuse a model whose settings its class finds unusable; nothing is sent.

    Raises:
        HarnessError: for example where an API key is missing.
    """
    for arm in config.arms:
        for who in arm.roles.values():
            if not isinstance(who, str):
                _check(plugins, who)


def _check(plugins: Plugins, table: JSON) -> None:
    quote(plugins, table)
    for name, kind in component_class(plugins, "model", str(table["use"])).cls.nested.items():
        if kind == "model":
            _check(plugins, _table(table[name]))


def quote(plugins: Plugins, table: JSON) -> Quote | None:
    """What a model's class says about it before it is made (name, abilities, prices); None where it says nothing."""
    use = str(table["use"])
    found = component_class(plugins, "model", use)
    given = {name: value for name, value in table.items() if name != "use" and name not in found.cls.nested}
    settings = check_settings(found.cls.Settings, given, "model", f"model {use!r}", found.cls.nested)
    with blaming(f"{found.plugin.info}: model {use!r}: quote raised"):
        said: Quote | None = found.cls.quote(settings)
    return said


def bills(config: Config, plugins: Plugins, task: Task) -> list[Bill]:
    """One bill for each method whose teacher is a remote model."""
    book = EpisodeBook(task, config.options.limit, test_alone=only_tests(config))
    return [bill for arm in config.arms if (bill := _bill(arm, config, plugins, task, book)) is not None]


def _bill(arm: Arm, config: Config, plugins: Plugins, task: Task, book: EpisodeBook) -> Bill | None:
    table = arm.roles.get("teacher")
    editor = arm.slots.get("editor")
    if not isinstance(table, Mapping) or editor is None or is_local(plugins, table):
        return None
    said = quote(plugins, table) or Quote(str(table["use"]), frozenset({"generate", "chat", "schema"}))
    counter = _Counter(said)
    session: Any = _Counting(task, counter)
    asks = [
        EditAsk(shown(episode, arm.method.sees), State(counter.base), arm.samples, 0) for episode in book.split("test")
    ]
    component = {name: value for name, value in editor.items() if name != "kind"}
    build(plugins, Editor, component, "editor").instance.propose(asks, session)
    usd = None
    if said.input_price is not None and said.output_price is not None:
        usd = (counter.prompt_tokens * said.input_price + counter.completion_tokens * said.output_price) / 1e6
    return Bill(arm.method.name, counter.base, counter.calls, counter.prompt_tokens, counter.completion_tokens, usd)


def _table(value: Any) -> JSON:
    return {"use": value} if isinstance(value, str) else value


class _Counter(Model):
    """A model that answers nothing, and counts what it is asked."""

    def __init__(self, said: Quote) -> None:
        self.base = said.base
        self.can = said.can
        self.calls = self.prompt_tokens = self.completion_tokens = 0

    def generate(self, asks: Sequence[Request], /) -> list[list[Completion]]:
        for ask in asks:
            self.calls += 1
            self.prompt_tokens += -(-len(_text(ask.prompt)) // _CHARACTERS_PER_TOKEN)
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
