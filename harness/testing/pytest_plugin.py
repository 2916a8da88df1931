"""Fixtures for plugin authors; pytest finds them wherever the harness is installed. Unused, they import nothing."""

from __future__ import annotations

import unittest
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite("harness.testing.contracts", "harness.testing.end_to_end")


@pytest.fixture(scope="session")
def lab_weights(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The store of weights trained on top of ``lab_model``."""
    from harness.books.store import WeightStore

    return WeightStore(tmp_path_factory.mktemp("embedded") / "weights")


@pytest.fixture(scope="session")
def lab_model(lab_weights: Any) -> Any:
    """The embedded model, loaded once; skips the test, with a reason, where it is not packaged."""
    from harness.testing import embedded

    try:
        return embedded.lab_model(lab_weights)
    except unittest.SkipTest as reason:
        pytest.skip(str(reason))


@pytest.fixture
def scripted_session(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """``scripted_session(lm, task, editor=("editor", MyEditor(...)))``: a real session around a scripted model.

    Slots that are not given hold plain components; the default task has twelve passages.
    """
    from harness.testing import components, open_session

    opened: list[Any] = []

    def make(lm: Any, task: Any = None, **slots: tuple[str, Any]) -> Any:
        parts = {**components.slots(), **slots}
        s = open_session(tmp_path / str(len(opened)), task or components.world(), {"teacher": lm}, parts,
                         roles={"student": "@teacher"})  # fmt: skip
        opened.append(s)
        return s

    yield make
    for s in opened:
        s.journal.close()


@pytest.fixture
def lab_session(lab_model: Any, lab_weights: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """``lab_session(updater=("updater", mine))``: a session with the embedded model, by default on its task."""
    from harness.api import Task
    from harness.registry.build import build
    from harness.registry.discover import Plugins
    from harness.testing import components, open_session
    from harness.testing.embedded import embedded_task

    opened: list[Any] = []

    def make(task: str = "", **slots: tuple[str, Any]) -> Any:
        plugins = Plugins()
        episodes = build(plugins, Task, {"use": task or embedded_task(plugins)}, "task").instance
        parts = {**components.slots(), **slots}
        s = open_session(tmp_path / str(len(opened)), episodes, {"teacher": lab_model}, parts,
                         roles={"student": "@teacher"}, weights=lab_weights)  # fmt: skip
        opened.append(s)
        return s

    yield make
    for s in opened:
        s.journal.close()
