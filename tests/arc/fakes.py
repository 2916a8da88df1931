"""A session with only what an editor or an evaluator needs, and a model that answers by a function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from harness.api import Completion, Model, Request, State
from harness.books.records import derive_seed

Reply = Callable[[Request, int], str | Completion]
"""Answer of a request's sample of that index: a text, or a whole completion."""


class FakeLM(Model):
    base = "fake"

    def __init__(self, reply: Reply, chat: bool = False) -> None:
        self.reply = reply
        self.can = frozenset({"generate", "chat"} if chat else {"generate"})
        self.calls: list[list[Request]] = []

    def generate(self, asks: Sequence[Request]) -> list[list[Completion]]:
        self.calls.append(list(asks))
        out = []
        for ask in asks:
            made = [self.reply(ask, at) for at in range(ask.n)]
            out.append([Completion(ask, one) if isinstance(one, str) else one for one in made])
        return out


class FakeSession:
    def __init__(self, task: Any, reply: Reply, chat: bool = False) -> None:
        self.task = task
        self.model = FakeLM(reply, chat)
        self.roles = {"student": State("fake"), "teacher": State("fake")}
        self.settings: dict[str, Any] = {}

    def lm(self, who: str | State) -> Any:
        return self.model

    def generate(self, requests: Sequence[Request]) -> list[list[Completion]]:
        return self.model.generate(requests)

    def seed(self, *name: object) -> int:
        return derive_seed(0, *name)
