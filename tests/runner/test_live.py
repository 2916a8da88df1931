"""What a run says while it runs, and what can be learnt of it from outside."""

from __future__ import annotations

import io
import json
import os
import shlex
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.api import HarnessError
from harness.books.journal import Journal
from harness.runs.status import status
from harness.session.progress import Forecast, Lines, Quiet
from tests.runner.test_runner import PLUGIN, ROOT, config, run


class Heard(Quiet):
    """Everything that a session reports, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[tuple[Any, ...]] = []

    def plan(self, rows: int, pieces: Mapping[str, int]) -> None:
        self.events.append(("plan", rows))

    def begin(self, piece: Any, total: int) -> None:
        self.events.append(("begin", piece, total))

    def tick(self, piece: Any) -> None:
        self.events.append(("tick", piece))

    def advance(self, piece: Any, count: int, seconds: float) -> None:
        self.events.append(("advance", piece, count))

    def say(self, text: str) -> None:
        self.events.append(("say", text))


def test_the_runs_folder_is_the_first_line_and_bars_move_within_a_wave(tmp_path: Path) -> None:
    heard = Heard()
    done = harness.run(config(tmp_path, limit=4), plugin_files=[PLUGIN], progress=heard)
    assert heard.events[0] == ("say", f"run {done.folder}")
    updates = [event for event in heard.events if event[1:2] == ("updates",)]
    place = updates.index(("begin", "updates", 4))
    assert [event[0] for event in updates[place : place + 6]] == ["begin", "tick", "tick", "tick", "tick", "advance"]


def test_a_forecast_counts_down_corrects_itself_and_says_how_far_off_it_is() -> None:
    now = [0.0]
    forecast = Forecast(lambda: now[0])
    forecast.plan({"updates": 100})
    assert (forecast.seconds(), forecast.said()) == (None, "")
    for _ in range(4):  # slow at first, as everything is
        now[0] += 20
        forecast.saw("updates", 10, 20)
    slow = forecast.seconds()
    assert slow == pytest.approx(120)
    now[0] += 5
    assert forecast.seconds() == pytest.approx(115), "it moves while nothing is finished"
    for _ in range(4):
        now[0] += 2
        forecast.saw("updates", 10, 2)
    left, error = forecast.seconds(), forecast.error()
    assert left is not None
    assert error is not None
    assert left < 30, "the pace is that of what came last"
    assert error > left, "it has moved by more than what is left, and says so"
    assert "give or take" in forecast.said()
    forecast.begin("updates", 500)
    forecast.saw("updates", 10, 2)
    assert (forecast.seconds() or 0) > left, "a call larger than the plan corrects the plan"
    now[0] += 10_000
    assert forecast.said() == "takes longer than it looked"


def test_without_a_terminal_a_line_now_and_then_says_how_far_it_is() -> None:
    stream = io.StringIO()
    lines = Lines(stream, every=0.02)
    lines.plan(2, {"updates": 8})
    lines.row("seal, seed 0")
    lines.begin("updates", 8)
    lines.tick("updates")
    time.sleep(0.2)
    lines.close()
    said = stream.getvalue().splitlines()
    assert said
    assert said[-1] == "[1/2] seal, seed 0: updates 1/8"
    count = len(stream.getvalue())
    time.sleep(0.1)
    assert len(stream.getvalue()) <= count + len(said[-1]) + 1, "it ends with the run"


def test_what_stops_a_run_names_the_command_that_goes_on(tmp_path: Path) -> None:
    with pytest.raises(HarnessError) as stopped:
        run(tmp_path / "a b", max_hours=1e-9)
    [folder] = (tmp_path / "a b" / "runs").iterdir()
    command = str(stopped.value).split("`")[1]
    assert shlex.split(command) == ["harness", "resume", str(folder)]


def test_status_tells_a_broken_run_from_a_running_and_a_finished_one(tmp_path: Path) -> None:
    ended = start(tmp_path, KILL_AT="30")
    assert ended.returncode != 0
    [folder] = (tmp_path / "runs").iterdir()
    broken = status(folder)
    assert broken.state == "broken off"
    assert broken.rows["animals, seed 0"] == "begun"
    assert broken.rows["bare, seed 0"] == "not begun"
    assert shlex.quote(str(folder)) in broken.now
    assert broken.done["updates"] > 0
    assert broken.planned["updates"] > 0
    before = (folder / "journal.sqlite").read_bytes()
    said = command("status", str(folder), "--json")
    assert (said.returncode, json.loads(said.stdout)["state"]) == (4, "broken off")
    assert (folder / "journal.sqlite").read_bytes() == before, "looking changes nothing"
    journal = Journal(folder)
    assert status(folder).state == "running"
    journal.close()
    harness.resume(folder)
    over = status(folder)
    assert over.state == "finished"
    assert set(over.rows.values()) == {"finished"}
    assert command("status", str(tmp_path)).returncode == 2


def test_what_a_reused_result_cost_is_no_error_of_ours(tmp_path: Path) -> None:
    run(tmp_path)
    again = run(tmp_path, reuse="auto")
    assert again.reused > 0
    with sqlite3.connect(again.folder / "journal.sqlite") as database:
        [(costs,)] = database.execute("SELECT count(*) FROM items WHERE status = 'error'").fetchall()
    assert costs > 0, "the costs of what was inside a reused result are booked"
    assert status(again.folder).errors == 0


def start(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    run = f"harness.run({config(folder)!r}, plugin_files=[Path({str(PLUGIN)!r})])"
    text = f"from pathlib import Path; import harness; {run}"
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, cwd=ROOT, check=False,
                          env={**os.environ, **environment}, timeout=120)  # fmt: skip


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "harness", *words], capture_output=True, text=True, cwd=ROOT,
                          check=False, timeout=120)  # fmt: skip
