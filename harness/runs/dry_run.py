"""``--dry-run``: what a run would do, before it does it: configuration, counts, and an estimate of the time.

Where the model is in this process, the seconds a piece are measured on a handful of test contexts in a temporary
folder; nothing is estimated for a model that would have to be paid.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness import escape
from harness.registry.build import build
from harness.registry.discover import Plugins
from harness.runs import runner
from harness.runs.config import resolve
from harness.runs.plan import Work, work
from harness.runs.spending import bills

PROBE = 8
"""Test contexts on which the pieces are timed."""


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

    from harness.evidence.leaderboard.table import seconds as as_time

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

    console.print(escape.terminal(tomli_w.dumps(_without_none(config.as_json()))), highlight=False, markup=False)
    table = Table("method", box=None)
    for name in ("edits", "updates", "answers"):
        table.add_column(name, justify="right")
    for method, pieces in counts.items():
        table.add_row(escape.rich(method), str(pieces.edits), str(pieces.updates), str(pieces.answers))
    table.add_row("all, over the seeds", str(total.edits), str(total.updates), str(total.answers))
    console.print(table)
    shown = " < ".join(("the method", "the model", "its preset", *layers))
    console.print(f"layers: {escape.rich(shown)}", highlight=False)
    for bill in remote:
        console.print(escape.rich(bill.line()), highlight=False)
    said = "not measured: a model is not in this process" if estimate is None else f"about {as_time(estimate)}"
    console.print(f"time: {said}", highlight=False)


def _without_none(value: Any) -> Any:
    """TOML has no null: a setting that is none is left out."""
    if isinstance(value, Mapping):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_without_none(item) for item in value if item is not None]
    return value
