"""Sessions whose model has workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harness.api import Model, Request
from harness.books.store import WeightStore
from harness.session.service import SessionService
from harness.testing import open_session
from harness.workers.executors import Executor, Processes
from harness.workers.model import PooledModel
from harness.workers.packs import Facts, Opening
from harness.workers.pool import Pool
from tests.session import parts
from tests.workers.made_up import MadeUp, MadeUpSettings


@dataclass
class Shared:
    """Two workers that several tests use, for starting them takes seconds."""

    pool: Pool
    settings: MadeUpSettings
    said: list[str]
    facts: Facts


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    settings, said = MadeUpSettings(str(tmp_path_factory.mktemp("shared"))), list[str]()
    pool = Pool(Processes(["cpu", "cpu"]), Opening(MadeUp, settings, ""), said.append)
    facts = pool.first("made-up:made-up")
    pool.start({})
    yield Shared(pool, settings, said, facts)
    pool.close()


@dataclass
class Opened:
    """A session, the pool behind its model, and what the pool said."""

    session: SessionService
    pool: Pool | None
    said: list[str] = field(default_factory=list)
    owns: bool = True
    """Whether the pool ends with the session."""

    def answers(self, prompts: list[str]) -> list[str]:
        state = self.session.roles["student"]
        rows = self.session.lm("student").generate([Request(state, prompt, seed=1) for prompt in prompts])
        return [completion.text for [completion] in rows]

    def close(self) -> None:
        if self.pool is not None and self.owns:
            self.pool.close()
        self.session.journal.close()


Open = Callable[..., Opened]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Opens a session on a run of that name; ``workers`` 0 is in this process."""
    every: list[Opened] = []

    def open_(
        name: str,
        workers: int = 2,
        model: Callable[[Any, Any], Model] = MadeUp,
        settings: Any = None,
        executor: Executor | None = None,
        shared: Shared | None = None,
        **slots: Any,
    ) -> Opened:
        settings = shared.settings if shared else settings or MadeUpSettings(str(tmp_path) if workers else "")
        weights = WeightStore(tmp_path / name / "weights")
        own: Model = model(settings, weights)
        pool, lm, said = None, own, list[str]()
        slots = {"updater": ("updater", parts.Fit()), "evaluator": ("evaluator", parts.Exact()), **slots}
        s = open_session(
            tmp_path / name, parts.task(), {"teacher": own}, slots, roles={"student": "@teacher"}, weights=weights
        )
        one = Opened(s, None, said)
        every.append(one)
        if shared:
            one.pool, one.said, one.owns = shared.pool, shared.said, False
            pool, facts = shared.pool, shared.facts
        elif workers:
            executor = executor or Processes(["cpu"] * workers)
            pool = one.pool = Pool(executor, Opening(type(own), settings, ""), said.append)
            facts = pool.first(own.base)
            pool.start({})
        if pool is not None:
            lm = PooledModel(own, facts.identity, pool, weights, s.context.turns.wait, s.context.turns.spent)
            s.context.models[own.base] = lm
            s.context.turns.width = 2 * pool.size
        return one

    yield open_
    for one in every:
        one.close()
