"""Observers are told of a run; one that raises causes a warning that names it, and affects neither run nor others."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.errors import UsageError
from harness.registry.discover import Plugins
from tests.plugins.made_up import GOOD, install
from tests.runner.test_runner import PLUGIN

LISTENER = """
    from harness import hookimpl

    @hookimpl
    def harness_run_started(event):
        (event.folder / "heard").write_text("began")

    @hookimpl
    def harness_run_finished(event):
        (event.folder / "heard").write_text("ended")
"""
GRUMBLER = """
    from harness import hookimpl

    @hookimpl
    def harness_run_started(event):
        raise RuntimeError("not today")
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return tmp_path / "site"


def run(folder: Path, **more: Any) -> harness.Run:
    config = {"method": "bare", "model": "animals", "task": "animals", "beside": [], "limit": 1, "leaderboard": "",
              "out": str(folder), **more}  # fmt: skip
    return harness.run(config, plugin_files=[PLUGIN])


def test_one_that_raises_is_one_warning(tmp_path: Path, place: Path, caplog: pytest.LogCaptureFixture) -> None:
    install(place, "listener", LISTENER)
    file = install(place, "grumbler", GRUMBLER)
    with caplog.at_level(logging.WARNING, logger="harness"):
        done = run(tmp_path / "runs", observers=["grumbler", "listener"])
    assert done.complete
    assert (done.folder / "heard").read_text() == "ended"
    [said] = [record.getMessage() for record in caplog.records if "grumbler" in record.getMessage()]
    assert re.fullmatch(
        r"plugin 'grumbler' \(dist-of-grumbler 2\.5, grumbler_plugin\): observer harness_run_started raised "
        rf"RuntimeError: not today \({re.escape(str(file))}:6\); the run goes on",
        said,
    )


def test_an_observer_is_not_imported_unless_it_is_named(tmp_path: Path, place: Path) -> None:
    install(place, "listener", LISTENER)
    assert not (run(tmp_path / "runs").folder / "heard").exists()


def test_one_that_was_only_searched_is_not_called(place: Path) -> None:
    install(place, "listener", LISTENER)
    install(place, "elsewhere", GOOD.replace("good_plugin", "elsewhere_plugin").replace("good-editor", "popular"))
    plugins = Plugins()
    plugins.component("editor", "popular")
    assert [plugin.info.name for plugin in plugins.observers()] == ["elsewhere"]


def test_an_observer_that_is_not_there_is_said(tmp_path: Path, place: Path) -> None:
    install(place, "listener", LISTENER)
    with pytest.raises(UsageError, match=r"no plugin named 'listner' is installed\. Did you mean 'listener'"):
        run(tmp_path / "runs", observers=["listner"])
