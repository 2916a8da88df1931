"""A model of no weights that workers can import, and that breaks where a prompt says so: once, or in one process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from harness.api import Completion, Model, Request, Trained, TrainItem, WeightSource
from harness.books.records import digest
from harness.errors import RunError
from harness.testing import ScriptedLM


@dataclass(frozen=True)
class MadeUpSettings:
    """Where it notes what has happened to it, and which machine it says that it is."""

    folder: str = ""
    name: str = "made-up"


class MadeUp(Model):
    Settings: ClassVar[type] = MadeUpSettings
    local = True
    chunk = 4
    wave = 4
    can = frozenset({"generate", "train", "seed"})

    def __init__(self, settings: MadeUpSettings, weights: WeightSource) -> None:
        self.settings = settings
        self.base = f"made-up:{settings.name}"
        self._weights = weights
        self._scripted = ScriptedLM({}, name=settings.name)

    def generate(self, asks: Sequence[Request], /) -> list[list[Completion]]:
        if any("slow" in str(ask.prompt) for ask in asks):
            time.sleep(0.5)
        cost = {}
        for ask in asks:
            if fault := self._due(str(ask.prompt)):
                cost = getattr(self, f"_{fault}")() or {}
        return [[self._answer(ask, cost)] for ask in asks]

    def train(self, items: Sequence[TrainItem], loss: str | Any = "sft") -> Iterator[Trained]:
        for item in items:
            for one in item.start.adapters:
                assert self._weights.adapter(one).digest() == one
        return self._scripted.train(items, loss)

    def _answer(self, ask: Request, cost: dict[str, float]) -> Completion:
        # What the answer depends on is there: the state's weights as they were made.
        held = [self._weights.adapter(one).digest() for one in ask.state.adapters]
        return Completion(ask, digest([ask.prompt, ask.seed, held])[:8], cost={"completion_tokens": 8, **cost})

    def _due(self, prompt: str) -> str:
        """The fault that a prompt names, the first time that any process meets it."""
        _, once, fault = prompt.partition("once ")
        if not once or not self.settings.folder:
            return ""
        try:
            (Path(self.settings.folder) / fault).touch(exist_ok=False)
        except FileExistsError:
            return ""
        return fault

    def _die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def _hang(self) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)

    def _break(self) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    def _refuse(self) -> None:
        raise RunError("the model has had enough")

    def _reduce(self) -> dict[str, float]:
        return {"reduced": 1.0}


class Elsewhere(MadeUp):
    """Calls itself another model in every process after the driver and the first worker."""

    def __init__(self, settings: MadeUpSettings, weights: WeightSource) -> None:
        super().__init__(settings, weights)
        opened = Path(settings.folder) / "opened"
        with opened.open("a") as file:
            file.write("x")
        if opened.stat().st_size > 2:
            self.base = "made-up:another"


class NoHome(MadeUp):
    """Cannot be made in a worker."""

    def __init__(self, settings: MadeUpSettings, weights: WeightSource) -> None:
        super().__init__(settings, weights)
        if type(weights).__module__ == "harness.workers.worker":
            raise OSError("no such device")
