"""What a run will do, before it does it: counts of edits, updates and answers, and an estimate of the time.

The counts follow from the task and the settings. Where the model is in this process, the seconds a piece are measured
on a handful of test contexts in a temporary folder; nothing is estimated for a model that would have to be paid.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.api import Example
from harness.components import Built, build
from harness.config import Arm, Config, resolve
from harness.plugins import Plugins
from harness.session.episodes import EpisodeBook
from harness.spending import bills

PROBE = 8
"""Test contexts on which the pieces are timed."""


@dataclass(frozen=True)
class Work:
    """How many pieces of each kind."""

    edits: int = 0
    updates: int = 0
    answers: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(self.edits + other.edits, self.updates + other.updates, self.answers + other.answers)

    def times(self, count: int) -> Work:
        return Work(self.edits * count, self.updates * count, self.answers * count)


def work(config: Config, plugins: Plugins, task: Built | None = None) -> dict[str, Work]:
    """Method -> its pieces for one seed, the outer loop and its validation included.

    A trainer says with ``candidates(contexts) -> int`` how many edits it tries, and with ``rounds`` how often the
    policy is validated; a reward says with ``updates_per_edit`` how many updates one trial takes. Without these an
    outer loop is not counted.
    """
    task = task or build(plugins, "task", config.task, "task")
    book = EpisodeBook(task.instance, config.options.limit)
    return {arm.method.name: _arm(arm, config, plugins, book) for arm in config.arms}


def _arm(arm: Arm, config: Config, plugins: Plugins, book: EpisodeBook) -> Work:
    slots = {
        name: build(plugins, str(table["kind"]), {k: v for k, v in table.items() if k != "kind"}, name)
        for name, table in arm.slots.items()
        if table["kind"] in {"trainer", "reward", "updater"}
    }
    has_editor = any(table["kind"] == "editor" for table in arm.slots.values())
    test = book.split("test")
    queries = sum(len(episode.queries) for episode in test)
    samples = config.options.samples if has_editor else 1
    edits = len(test) * samples if has_editor else 0
    updater = slots.get("updater")
    trains = has_editor and updater is not None and Example in updater.instance.accepts
    one = arm.grouping == "cpt"
    total = Work(edits, (1 if one else edits) if trains else 0, queries * (1 if one else samples))
    trainer, reward = slots.get("trainer"), slots.get("reward")
    if trainer is None or not hasattr(trainer.instance, "candidates"):
        return total
    train = book.split("train")
    tried = trainer.instance.candidates(len(train))
    tries = tried * getattr(reward.instance, "updates_per_edit", 0) if reward else 0
    mean_queries = sum(len(e.queries) for e in train) / max(1, len(train))
    total += Work(tried, tries, round(tries * mean_queries))
    if config.options.validation:
        validation = book.split("validation", config.options.validation)
        asked = sum(len(e.queries) for e in validation)
        total += Work(len(validation), len(validation), asked).times(1 + getattr(trainer.instance, "rounds", 1))
    return total


@dataclass(frozen=True)
class Pace:
    """Seconds a piece, and to get started."""

    start: float
    edit: float
    update: float
    answer: float

    def seconds(self, pieces: Work) -> float:
        return pieces.edits * self.edit + pieces.updates * self.update + pieces.answers * self.answer


def measure_pace(given: Mapping[str, Any], files: Sequence[Path]) -> Pace | None:
    """Time the pieces on a few test contexts without an outer loop; None where the model is not in this process."""
    from harness import runner

    config = resolve(given, Plugins(tuple(files)))
    asked = [config.model, *config.arms[0].roles.values()]
    if any(isinstance(who, Mapping) and who["use"] == "openai" for who in asked):
        return None
    with tempfile.TemporaryDirectory() as folder:
        probe = {**given, "out": folder, "leaderboard": "", "limit": PROBE, "seeds": 1, "beside": [], "validation": 0,
                 "samples": 1, "trainer": {"use": "none"}, "edits": "", "reuse": ""}  # fmt: skip
        began = time.perf_counter()
        done = runner.run(probe, plugin_files=files)
        whole = time.perf_counter() - began
    [row] = done.result.rows
    contexts = len(done.result.task.items)
    parts = {name: float(row.costs.get(f"{name}_s") or 0.0) for name in ("generation", "update", "grading")}
    return Pace(
        whole - sum(parts.values()),
        parts["generation"] / contexts,
        parts["update"] / contexts,
        parts["grading"] / max(1, row.expected),
    )


def show_plan(given: Mapping[str, Any], files: Sequence[Path], layers: Sequence[str], *, as_json: bool) -> None:
    """Print the resolved configuration, the counts and the estimate; run nothing but the probe."""
    from rich.console import Console
    from rich.table import Table

    from harness.leaderboard.table import seconds as as_time

    plugins = Plugins(tuple(files))
    config = resolve(given, plugins, layers)
    task = build(plugins, "task", config.task, "task")
    counts = work(config, plugins, task)
    remote = bills(config, plugins, task.instance)
    pace = measure_pace(given, files)
    seeds = config.options.seeds
    total = sum((pieces for pieces in counts.values()), Work()).times(seeds)
    estimate = None if pace is None else pace.start + pace.seconds(total)
    if as_json:
        plan = {
            "configuration": config.as_json(),
            "work": {name: asdict(pieces) for name, pieces in counts.items()},
            "seeds": seeds,
            "estimated_seconds": estimate,
            "remote_edits": [asdict(bill) for bill in remote],
        }
        print(json.dumps(plan, indent=1, ensure_ascii=False))
        return
    console = Console()
    import tomli_w

    console.print(tomli_w.dumps(_without_none(config.as_json())), highlight=False, markup=False)
    table = Table("method", box=None)
    for name in ("edits", "updates", "answers"):
        table.add_column(name, justify="right")
    for method, pieces in counts.items():
        table.add_row(method, str(pieces.edits), str(pieces.updates), str(pieces.answers))
    table.add_row("all, over the seeds", str(total.edits), str(total.updates), str(total.answers))
    console.print(table)
    console.print(f"layers: {' < '.join(('the method', 'the model', 'its preset', *layers))}", highlight=False)
    for bill in remote:
        console.print(bill.line(), highlight=False)
    said = "not measured: a model is not in this process" if estimate is None else f"about {as_time(estimate)}"
    console.print(f"time: {said}", highlight=False)


def _without_none(value: Any) -> Any:
    """TOML has no null: a setting that is none is left out."""
    if isinstance(value, Mapping):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_without_none(item) for item in value if item is not None]
    return value
