"""``harness.run(config)``: every method of a configuration, every seed, into one folder and one result file."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.books.episodes import EpisodeBook
from harness.books.journal import Journal
from harness.books.reuse import ReuseSource, changes, fact_of
from harness.books.store import WeightStore
from harness.errors import RunError, UsageError
from harness.events import RunFinished, RunStarted
from harness.evidence.result_file import ResultFile, read, write
from harness.files import write_text
from harness.reading import read_json, read_json_lines, within_limits
from harness.registry.build import build
from harness.registry.discover import Plugins
from harness.runs import config as configuration
from harness.runs.arm import OpenRun, check_roles, observe, run_arm
from harness.runs.collect import result_file
from harness.runs.config import Config
from harness.runs.environment import describe_environment
from harness.runs.plan import Work, work
from harness.runs.record import NAME, read_record
from harness.session.context import RunContext
from harness.session.progress import Progress, Quiet
from harness.text import writable


@dataclass(frozen=True)
class Run:
    """A finished run.

    ``rows`` are those of the result file; :meth:`scores` is one record a query, sample and seed.
    """

    folder: Path
    result: ResultFile
    reused: int = 0
    """Items answered from the journal."""
    ran: int = 0
    """Items computed now."""
    leaderboard: Path | None = None
    """The result file's copy under the leaderboards."""
    taken: Mapping[str, int] = field(default_factory=dict)
    """Earlier run -> how many of the reused items were taken over from it."""
    ran_of: Mapping[str, int] = field(default_factory=dict)
    """What was computed now -> how many: ``edits by 'mine'``, ``completions by 'lab-1'``."""
    changed: Sequence[str] = ()
    """Components that differ from those of the earlier run that most was taken over from."""

    @property
    def complete(self) -> bool:
        """Whether every expected score has a value."""
        return all(row.complete for row in self.result.rows)

    def scores(self) -> list[dict[str, Any]]:
        """The per-query table: method, seed, episode, query, sample, value, status, answer and further measures."""
        out = []
        for path in sorted((self.folder / "scores").glob("*.jsonl")):
            out += [line for _, line in read_json_lines(path, RunError)]
        return out


def run(
    config: Mapping[str, Any] | None = None,
    *,
    plugin_files: Sequence[Path] = (),
    layers: Sequence[str] = ("arguments",),
    progress: Progress | None = None,
) -> Run:
    """Run a method and those beside it.

    Args:
        config: keys of :class:`harness.runs.config.Options` and slot tables, as in a configuration file.
        plugin_files: single-file plugins to take beside the installed ones.
        layers: where the configuration came from, for the record.

    Raises:
        UsageError: the configuration names something that does not exist.
        RunError: the run could not go on; :func:`resume` continues it.
    """
    plugins = Plugins(tuple(plugin_files))
    given = dict(within_limits(dict(config or {}), "configuration"))
    for file in plugin_files:
        if writable(str(file)) != str(file):
            raise UsageError(f"plugin file {str(file)!r}: its name is not UTF-8 and cannot be kept; rename it")
    resolved = configuration.resolve(given, plugins, layers)
    folder = _new_folder(resolved)
    record = {"given": given, "plugin_files": [str(Path(f).resolve()) for f in plugin_files], "layers": list(layers),
              "resolved": resolved.as_json()}  # fmt: skip
    write_text(folder / NAME, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    return _execute(folder, plugins, resolved, progress or Quiet(), recompute=False)


def resume(folder: str | Path, *, recompute: bool = False, progress: Progress | None = None) -> Run:
    """Go on with a run where it stopped; what is booked is not done again.

    Args:
        recompute: where a plugin's source changed since, run again what the change touches, instead of refusing.

    Raises:
        UsageError: there is no run in that folder, or its configuration now resolves to something else.
    """
    folder = Path(folder)
    record = read_record(folder)
    plugins = Plugins(record.plugin_files)
    resolved = configuration.resolve(record.given, plugins, record.layers)
    changed = _differences(record.resolved, resolved.as_json())
    if changed and not recompute:
        raise UsageError(
            f"{folder}: the configuration now resolves to another one ({changed[0]}); a preset or a default changed. "
            "`harness resume --recompute` takes the new one and runs again what it touches"
        )
    return _execute(folder, plugins, resolved, progress or Quiet(), recompute=recompute)


def open_run(folder: str | Path) -> Run:
    """A finished run from its folder."""
    path = Path(folder) / "result.json"
    if not path.exists():
        raise UsageError(f"{folder} holds no finished run; `harness resume {folder}` finishes one")
    return Run(Path(folder), read(path))


def _execute(folder: Path, plugins: Plugins, config: Config, progress: Progress, recompute: bool) -> Run:
    journal = Journal(folder)
    try:
        opened = _open(folder, plugins, config, journal, progress, recompute)
        observe(plugins, "harness_run_started", RunStarted(folder, config.as_json()))
        pieces = sum(work(config, plugins, opened.task).values(), Work()).times(config.options.seeds)
        progress.plan(len(config.arms) * config.options.seeds, asdict(pieces))
        outcomes = []
        for seed in range(config.options.seed, config.options.seed + config.options.seeds):
            for arm in config.arms:
                progress.row(f"{arm.method.name}, seed {seed}")
                outcomes.append(run_arm(opened, arm, seed))
        result = result_file(folder.name, config, opened.task, opened.context, outcomes)
        write(result, folder / "result.json")
        copy = None
        if config.options.leaderboard:
            task_name = re.sub(r"[^\w.-]+", "-", result.task.name)
            copy = write(result, Path(config.options.leaderboard) / task_name / f"{folder.name}.json")
        done = Run(
            folder,
            result,
            journal.reused,
            journal.ran,
            copy,
            taken=dict(journal.taken),
            ran_of=_ran_of(journal, opened),
            changed=_changed(journal, config),
        )
        rows = read_json(folder / "result.json")["rows"]
        observe(plugins, "harness_run_finished", RunFinished(folder, rows))
        return done
    finally:
        progress.close()
        journal.close()


def _open(
    folder: Path, plugins: Plugins, config: Config, journal: Journal, progress: Progress, recompute: bool
) -> OpenRun:
    for name in config.options.observers:
        plugins.observe(name)
    environment = describe_environment()
    if journal.fact("environment") is None:
        journal.set_fact("environment", environment)
    if config.options.reuse:
        journal.earlier = ReuseSource(config.options.reuse, folder, environment)
    task = build(plugins, "task", config.task, "task")
    hours = config.options.max_hours
    context = RunContext(
        folder,
        journal,
        WeightStore(folder / "weights"),
        EpisodeBook(task.instance, config.options.limit),
        {},
        progress,
        time.monotonic() + 3600 * hours if hours else 0.0,
        recompute,
    )
    (folder / "weights").mkdir(exist_ok=True)
    opened = OpenRun(plugins, config, context, task)
    for arm in config.arms:
        check_roles(opened, arm)
    return opened


_EFFECTS = {
    "completion": "completions",
    "edits": "calls",
    "rewards": "calls",
    "scores": "evaluations",
    "trial": "trials",
    "updated": "updates",
}
"""Kind of item -> what it is called where it is counted."""


def _ran_of(journal: Journal, opened: OpenRun) -> dict[str, int]:
    """What was computed, by what it is and who did it, in words."""
    names = opened.model_names()
    return {
        f"{_EFFECTS.get(kind, kind)} by {names.get(component, component)!r}": count
        for (kind, component), count in sorted(journal.ran_of.items())
        if component != "session"
    }


def _changed(journal: Journal, config: Config) -> list[str]:
    """How this run's components differ from those of the earlier run that most was taken from, or else the newest."""
    if not journal.earlier or not journal.earlier.runs:
        return []
    taken = journal.taken
    run = max(journal.earlier.runs, key=lambda run: taken[run.name])
    out = []
    for arm in config.arms:
        fact = f"components/{arm.method.name}"
        before = fact_of(run, fact)
        out += changes(before, journal.fact(fact)) if before else [f"method {arm.method.name!r} (not there before)"]
    return list(dict.fromkeys(out))


def _new_folder(config: Config) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    name = "-".join([stamp, config.options.method, str(config.task["use"])])
    base = Path(config.options.out)
    for attempt in range(100):
        folder = base / (name if not attempt else f"{name}-{attempt + 1}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
        except OSError as error:
            raise UsageError(
                f"no run can be written under {base}: {error.strerror}; choose another folder with --out"
            ) from error
    raise RunError(f"{base} has a hundred runs of this second")


def _differences(before: Any, now: Any, path: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        out = []
        for key in sorted({*before, *now}):
            out += _differences(before.get(key), now.get(key), f"{path}.{key}" if path else key)
        return out
    return [] if before == now else [f"{path}: {before!r} -> {now!r}"]
