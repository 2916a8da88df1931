"""Runs with workers against runs without: a real model's bits, and a driver that is killed."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.api import Ask, Example, Request, SelfEdit, TrialJob, UpdateJob
from harness.errors import UsageError
from harness.models.hf import HfModel
from harness.models.hf_settings import HfSettings
from harness.updaters.lora import Lora, LoraSettings
from harness.workers.chosen import Workers
from tests.models import tiny
from tests.workers.conftest import Open, Opened, Shared

ROOT = Path(__file__).parents[2]
DRIVER = """
import sys
from pathlib import Path
from tests.workers import conftest
from tests.workers.made_up import MadeUpSettings
opened = conftest.opened.__wrapped__(Path(sys.argv[1]))
one = next(opened)("run", settings=MadeUpSettings())
print(*(remote._process.pid for remote in one.pool._remotes.values()), flush=True)
one.answers([f"slow {i}" for i in range(80)])
"""


def work(one: Opened) -> Any:
    """Trainings, trainings on top of them, trials, and sampled answers of what was learnt."""
    s = one.session
    cats, dogs = s.episodes("train")
    start = s.roles["student"]
    texts = ["cats purr", "cats purr and purr all day long", "a cat that purrs is a cat", "purr"]
    edits = [SelfEdit(f"e{i}", cats.id, tuple(Example("", t) for t in texts[i % 3 :])) for i in range(6)]
    first = [one.state for one in s.update("updater", [UpdateJob(e.id, start, (e,), i) for i, e in enumerate(edits)])]
    assert all(first)
    trials = s.trial([TrialJob(UpdateJob(f"t{e.id}", start, (e,), 9), (cats, dogs)) for e in edits])
    asks = [Request(state, "cats", temperature=1.0, seed=i, max_tokens=5) for i, state in enumerate(first) if state]
    drawn = [(c.text, c.tokens, c.logprobs) for [c] in s.lm("student").generate(asks)]
    scored = s.lm("student").logprobs([(ask.state, "cats", " purr") for ask in asks])
    hidden = s.lm("student").hidden([(ask.state, "cats purr") for ask in asks], layer=1)
    return first, trials, s.evaluate([Ask(asks[0].state, dogs)]), drawn, scored, hidden


def test_the_same_bits_with_workers_and_without(opened: Open, tmp_path: Path) -> None:
    limits = {"slots": 2, "tokens": 256, "rows": 2, "cache_tokens": 4096}
    settings = HfSettings(path=str(tiny.write(tmp_path / "llama")), device="cpu", memory=limits, threads=1)
    slots = {"updater": ("updater", Lora(LoraSettings(rank=4, epochs=2)))}
    options: dict[str, Any] = {"model": HfModel, "settings": settings, **slots}
    alone = work(opened("alone", workers=0, **options))
    pooled = opened("pooled", workers=2, **options)
    assert work(pooled) == alone
    assert pooled.said == []


def booked(run: Path) -> int:
    path = run / "journal.sqlite"
    if not path.exists():
        return 0
    with closing(sqlite3.connect(path)) as database:
        try:
            return int(database.execute("SELECT count(*) FROM items").fetchone()[0])
        except sqlite3.OperationalError:
            return 0


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def alive(process: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


@pytest.mark.slow
def test_a_killed_driver_takes_its_workers_along_and_is_resumed(opened: Open, shared: Shared, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    command = [sys.executable, "-c", DRIVER, str(tmp_path)]
    driver = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    workers = [int(word) for word in driver.stdout.readline().split()]
    until(lambda: booked(tmp_path / "run") >= 8)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    driver.stdout.close()
    until(lambda: not any(map(alive, workers)))
    before = booked(tmp_path / "run")
    assert before % 4 == 0
    assert before < 80
    prompts = [f"slow {i}" for i in range(80)]
    resumed = opened("run", shared=shared)
    assert resumed.answers(prompts) == opened("fresh", workers=0).answers(prompts)
    assert resumed.session.journal.ran == 80 - before


@pytest.mark.slow
def test_a_run_of_the_command_line_has_the_same_scores_with_workers(tmp_path: Path) -> None:
    config = {"method": "passage", "limit": 6, "out": str(tmp_path), "leaderboard": "", "beside": ["none"]}
    alone = harness.run(config)
    pooled = harness.run(config, workers=Workers("cpu:2"))
    assert pooled.scores() == alone.scores()
    assert pooled.ran_of == alone.ran_of
    rows = [(row.method, row.scores, row.notes) for row in pooled.result.rows]
    assert rows == [(row.method, row.scores, row.notes) for row in alone.result.rows]


def test_the_executor_of_the_docs_starts_workers(opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``srun`` is played by a script that drops the options and runs the command here."""
    srun = tmp_path / "srun"
    srun.write_text('#!/bin/sh\nwhile [ "${1#--}" != "$1" ]; do echo "$1" >> "$0.asked"; shift; done\nexec "$@"\n')
    srun.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "examples"))
    executor = Workers("cuda:x1", "slurm_executor:Slurm").executor_class()(["cuda"], "--partition=gpu")
    pooled = opened("pooled", workers=1, executor=executor)
    assert pooled.answers(["a", "b"]) == opened("alone", workers=0).answers(["a", "b"])
    asked = (tmp_path / "srun.asked").read_text().split()
    assert asked == ["--ntasks=1", "--cpus-per-task=1", "--gpus=1", "--partition=gpu"]


def test_what_is_no_executor_is_said() -> None:
    with pytest.raises(UsageError, match=r"no such executor 'proceses'. Did you mean 'processes'"):
        Workers("cpu:1", "proceses")
    with pytest.raises(UsageError, match="cannot be imported"):
        Workers("cpu:1", "no_such_module:Slurm")
    with pytest.raises(UsageError, match=r"is no harness.workers.executors.Executor"):
        Workers("cpu:1", "pathlib:Path")
    with pytest.raises(UsageError, match="need --devices"):
        Workers(executor="ray")
