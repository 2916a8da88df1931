"""``--dry-run``: what a run would do: every setting, counts, and an estimate of the time.

Where the models run in this process, the seconds per piece are measured on a handful of test contexts in a temporary
folder. A remote model or judge is not asked; one whose API key is missing is refused.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from harness import escape
from harness.api import EvaluationProtocol, Evaluator, Task
from harness.errors import UsageError
from harness.registry.build import BuiltComponent, build
from harness.registry.discover import Plugins
from harness.runs import runner
from harness.runs.config import Config, resolve
from harness.runs.full_settings import commented_toml, full_settings
from harness.runs.plan import Work, uncounted, work
from harness.runs.spending import Bill, bills, check_models, is_local
from harness.workers.chosen import NO_WORKERS, Workers
from harness.workers.executors import places
from harness.workers.model import STAYS

PROBE = 8
"""Test contexts on which the pieces are timed."""


@dataclass(frozen=True)
class Pace:
    """Seconds per piece of each kind, and for starting."""

    start: float
    edit: float
    update: float
    answer: float

    def seconds(self, pieces: Work) -> float:
        return pieces.edits * self.edit + pieces.updates * self.update + pieces.answers * self.answer


def measure_pace(given: Mapping[str, Any], files: Sequence[Path]) -> Pace | None:
    """Time the pieces on a few test contexts without an outer loop; None where a model or judge is remote."""
    plugins = Plugins(tuple(files))
    config = resolve(given, plugins)
    [arm, *_] = config.arms
    asked = [config.model, *(who for who in arm.roles.values() if not isinstance(who, str))]
    evaluators = [evaluator for evaluator in _evaluators(plugins, config) if not _is_local(evaluator)]
    if evaluators or not all(is_local(plugins, table) for table in asked):
        return None
    with tempfile.TemporaryDirectory() as folder:
        probe = {
            **given, "method": arm.method.name, "all": False, "beside": [], "variants": {}, "out": folder,
            "leaderboard": "", "limit": _few(plugins, config), "seeds": 1, "validation": 0, "also": {}, "samples": 1,
            "trainer": {"use": "none"}, "edits": "", "reuse": "",
        }  # fmt: skip
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


def _few(plugins: Plugins, config: Config) -> int:
    """The fewest test contexts, from :data:`PROBE` on, that the main method's protocol takes."""
    protocol = build(plugins, EvaluationProtocol, config.arms[0].protocol, "protocol").instance
    for contexts in range(PROBE, max(config.options.limit, 16 * PROBE)):
        try:
            protocol.work(contexts, contexts, 1)
        except UsageError:
            continue
        return contexts
    return config.options.limit or PROBE


def _evaluators(plugins: Plugins, config: Config) -> list[BuiltComponent[Evaluator]]:
    """Every evaluator of the run; one with an unusable judge is refused here."""
    tables = [(slot, table) for arm in config.arms for slot, table in arm.slots.items() if table["kind"] == "evaluator"]
    tables += [(f"also.{also.name}", also.evaluator) for also in config.also]
    return [
        build(plugins, Evaluator, {key: value for key, value in table.items() if key != "kind"}, where)
        for where, table in tables
    ]


def _is_local(evaluator: BuiltComponent[Any]) -> bool:
    nested = all(_is_local(part) for part in evaluator.nested.values() if part.kind == "evaluator")
    return nested and bool(evaluator.instance.local)


@dataclass(frozen=True)
class Plan:
    """What a run would do."""

    config: Config
    settings: Mapping[str, Any]
    """The configuration with every setting of every component, defaults included."""
    work: Mapping[str, Work]
    """Method -> its pieces for one seed."""
    uncounted: Mapping[str, str]
    """Method -> what :attr:`work` does not count of it, and why; only methods of which something is missing."""
    bills: Sequence[Bill]
    seconds: float | None
    """Estimated seconds of the counted pieces; None where a model or judge is remote, and nothing was timed."""

    @property
    def total(self) -> Work:
        """All pieces, over all seeds."""
        return sum(self.work.values(), Work()).times(self.config.options.seeds)


def make_plan(given: Mapping[str, Any], files: Sequence[Path], layers: Sequence[str]) -> Plan:
    """Resolve the configuration and count; run nothing but the probe.

    Raises:
        HarnessError: whatever a run would raise before it spends anything.
    """
    plugins = Plugins(tuple(files))
    config = resolve(given, plugins, layers)
    check_models(config, plugins)
    runner.check_folders(config)
    _evaluators(plugins, config)
    task = build(plugins, Task, config.task, "task")
    plan = Plan(
        config,
        full_settings(config, plugins),
        work(config, plugins, task),
        uncounted(config, plugins),
        bills(config, plugins, task.instance),
        None,
    )
    pace = measure_pace(given, files)
    return plan if pace is None else replace(plan, seconds=pace.start + pace.seconds(plan.total))


def show_plan(plan: Plan, *, as_json: bool, workers: Workers = NO_WORKERS) -> None:
    """Print a plan."""
    from rich.console import Console
    from rich.table import Table

    from harness.evidence.leaderboard.table import seconds as as_time

    config = plan.config
    if as_json:
        answer = {
            "configuration": plan.settings,
            "work": {name: asdict(pieces) for name, pieces in plan.work.items()},
            "uncounted": dict(plan.uncounted),
            "seeds": config.options.seeds,
            "estimated_seconds": plan.seconds,
            "remote_edits": [asdict(bill) for bill in plan.bills],
        }
        print(json.dumps(answer, indent=1, ensure_ascii=False))
        return
    console = Console()
    said = commented_toml(plan.settings, config.as_json())
    console.print(escape.terminal(said), highlight=False, markup=False, soft_wrap=True)
    table = Table("method", box=None)
    for name in ("edits", "updates", "answers"):
        table.add_column(name, justify="right")
    for method, pieces in {**plan.work, "all, over the seeds": plan.total}.items():
        table.add_row(escape.rich(method), str(pieces.edits), str(pieces.updates), str(pieces.answers))
    console.print(table)
    for method, why in plan.uncounted.items():
        console.print(escape.rich(f"not counted: {method}: {why}"), highlight=False, soft_wrap=True)
    layers = " < ".join(("the method", "the model", "its preset", *config.layers))
    console.print(f"layers: {escape.rich(layers)}", highlight=False)
    if workers:
        count, of = len(places(workers.devices)), workers.executor or "processes"
        line = f"workers: {count} ({of}, {workers.devices}); in the driver stay {STAYS}; the time is that of one worker"
        console.print(escape.rich(line), highlight=False)
    for bill in plan.bills:
        console.print(escape.rich(bill.line()), highlight=False)
    if plan.seconds is None:
        time_needed = "not measured: a model is not in this process"
    else:
        time_needed = f"about {as_time(plan.seconds)}{' for what is counted' if plan.uncounted else ''}"
    console.print(f"time: {time_needed}", highlight=False)
