"""``harness.run(config)``: every method of a configuration, every seed, into one folder and one result file."""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness import reads
from harness.api import HEADLINE, Evaluator, Task
from harness.books import world
from harness.books.environment import describe_environment
from harness.books.episodes import EpisodeBook
from harness.books.folder import goes_on, sweep, write_recorded
from harness.books.journal import Journal
from harness.books.reuse import ReuseSource, changes, fact_of
from harness.books.store import WeightStore
from harness.errors import PluginError, RunError, UsageError
from harness.events import RunFinished, RunStarted
from harness.evidence.result import ResultFile, Row
from harness.evidence.result_file import check, dumps, read, write
from harness.reading import read_json, read_json_lines, within_limits
from harness.registry.build import BuiltComponent, build, hand_ledger
from harness.registry.discover import Plugins
from harness.runs import config as configuration
from harness.runs import record as records
from harness.runs.arm import OpenRun, check_arm, observe, run_arm
from harness.runs.bench import OpenAlso
from harness.runs.collect import result_file, write_items
from harness.runs.command import command
from harness.runs.config import Also, Config
from harness.runs.edits import read_edits
from harness.runs.plan import Work, only_tests, work
from harness.runs.provenance import provenance
from harness.runs.readable import unreadable
from harness.runs.trust import check_trust
from harness.session.context import RunContext
from harness.session.progress import Progress, Quiet
from harness.text import writable
from harness.workers.chosen import NO_WORKERS, Workers

_log = logging.getLogger("harness")
PLAN = "plan"
"""Fact of the journal: rows of the run, and its pieces of each kind as they were planned."""
_LIMIT = "max_cost"
"""Name of a fact in the journal: the limit that ``resume`` has set for every account."""


@dataclass(frozen=True)
class Run:
    """A finished run.

    ``rows`` are those of the result file; :meth:`scores` is one record per query, sample and seed.
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
    """Earlier run -> how many of the reused items came from it."""
    ran_of: Mapping[str, int] = field(default_factory=dict)
    """What was computed now -> how many, such as ``completions by 'lab-1'``."""
    changed: Sequence[str] = ()
    """How components differ from those of the earlier run that most was reused from."""

    @property
    def complete(self) -> bool:
        """Whether every expected score of the headline has a value, and no other table has one in error."""
        others = (row for table in self.result.tables for row in table.rows)
        return all(row.complete for row in self.result.rows) and not any(_errors(row) for row in others)

    def scores(self, table: str = HEADLINE) -> list[dict[str, Any]]:
        """One record per query, sample and seed of a table: ``method``, ``seed``, ``episode``, ``query``, ``sample``,
        ``value``, ``status``, ``answer``, ``step`` where there are steps, and further measures."""
        out = []
        for path in sorted((self.folder / "scores" / ("" if table == HEADLINE else table)).glob("*.jsonl")):
            out += [line for _, line in read_json_lines(path, RunError)]
        return out


def _errors(row: Row) -> int:
    return row.errors + sum(status.count("e") for one in row.earlier for status in one.status)


def run(
    config: Mapping[str, Any] | None = None,
    *,
    plugin_files: Sequence[Path] = (),
    layers: Sequence[str] = ("arguments",),
    progress: Progress | None = None,
    workers: Workers = NO_WORKERS,
) -> Run:
    """Run a method and those beside it.

    Args:
        config: keys of :class:`harness.runs.config.Options` and slot tables, as in a configuration file.
        plugin_files: single-file plugins to use beside the installed ones.
        layers: where the configuration came from, for the record; later ones win.
        workers: who computes the packs of local models; the results are the same with any.

    Raises:
        UsageError: the configuration names something that does not exist.
        RunError: the run could not go on; :func:`resume` continues it.
    """
    with workers.ahead():
        plugins = Plugins(tuple(plugin_files))
        given = dict(within_limits(dict(config or {}), "configuration"))
        for file in plugin_files:
            if writable(str(file)) != str(file):
                raise UsageError(f"plugin file {str(file)!r}: its name is not UTF-8 and cannot be kept; rename it")
        resolved = configuration.resolve(given, plugins, layers)
        folder = _new_folder(resolved)
        said = command({**given, "method": resolved.options.method}, plugin_files)
        record = records.make(folder.name, given, plugin_files, layers, resolved, said)
        return _execute(folder, plugins, resolved, record, progress or Quiet(), fresh=True, workers=workers)


def resume(
    folder: str | Path,
    *,
    recompute: bool = False,
    trust: bool = False,
    max_cost: float = 0.0,
    progress: Progress | None = None,
    workers: Workers = NO_WORKERS,
) -> Run:
    """Continue a run where it stopped; what is booked is not done again.

    Args:
        recompute: where a plugin's source, what the configuration resolves to, or the machine and its libraries have
            changed, or something stored is damaged, run again what is affected instead of refusing.
        max_cost: US dollars that each remote model, judges included, may cost over the whole run, from now on instead
            of the limits that the run was begun with. 0 leaves them.
        workers: who computes the packs from now on, whoever did before.
        trust: run the plugin files that the record of a run made elsewhere names; see :mod:`harness.runs.trust`.

    Raises:
        UsageError: there is no run in that folder, or it would not be the same run any more.
        Damaged: something in the folder is not what was written there.
    """
    with workers.ahead():
        folder = Path(folder)
        record = records.read(folder)
        check_trust(folder, record, trust)
        files = [Path(file) for file in record["plugin_files"]]
        plugins = Plugins(tuple(files))
        resolved = configuration.resolve(record["given"], plugins, record["layers"])
        changed = _differences(record["resolved"], resolved.as_json())
        if changed and not recompute:
            raise UsageError(
                f"{folder}: the configuration now resolves to another one ({changed[0]}); a preset or a default "
                "changed. `harness resume --recompute` takes the new one and runs again what it affects"
            )
        if recompute:
            record = records.make(
                _name(record, folder), record["given"], files, record["layers"], resolved, record.get("command", "")
            )
        progress = progress or Quiet()
        return _execute(
            folder, plugins, resolved, record, progress, recompute=recompute, max_cost=max_cost, workers=workers
        )


def open_run(folder: str | Path) -> Run:
    """A finished run from its folder."""
    path = Path(folder) / "result.json"
    if not path.exists():
        raise UsageError(f"{folder} holds no finished run; `harness resume {folder}` finishes one")
    return Run(Path(folder), read(path))


def _execute(
    folder: Path,
    plugins: Plugins,
    config: Config,
    record: Mapping[str, Any],
    progress: Progress,
    *,
    fresh: bool = False,
    recompute: bool = False,
    max_cost: float = 0.0,
    workers: Workers = NO_WORKERS,
) -> Run:
    journal, opened, refused = None, None, fresh
    reads.own(folder)
    try:
        journal = Journal(folder, recompute)
        if fresh:
            records.write(journal, folder, record)
        elif not recompute:
            records.check(journal, folder)
        opened = _open(folder, plugins, config, journal, progress, recompute, workers)
        for arm in config.arms:
            check_arm(opened, arm)
        if max_cost:
            journal.set_fact(_LIMIT, max_cost)
        journal.ledger.limit, journal.ledger.default = journal.fact(_LIMIT) or 0.0, config.options.max_cost
        if recompute:
            records.write(journal, folder, record)
        refused = False
        progress.say(f"run {folder}")
        for base in opened.context.models:
            if said := unreadable(opened.context, base):
                _log.warning("%s", said)
        return _all_rows(opened, progress, _name(record, folder), record.get("command", ""))
    except (UsageError, PluginError):
        refused = fresh and (journal is None or journal.empty)
        raise
    except KeyboardInterrupt:
        refused = fresh and (journal is None or journal.empty)
        said = "nothing was booked yet" if refused else f"what is booked is safe, and `{goes_on(folder)}` goes on"
        progress.say(f"interrupted; {said}")
        raise
    finally:
        if opened is not None:
            opened.close()
        progress.close()
        if journal is not None:
            journal.close()
        if refused:  # there is nothing that a resumed run could go on from
            shutil.rmtree(folder, ignore_errors=True)


def _all_rows(opened: OpenRun, progress: Progress, name: str, source: str) -> Run:
    """Run every method under every seed, write the result file, and tell the observers.

    Args:
        name: the run's name.
        source: the command that makes such a run again.
    """
    config, plugins, folder, journal = opened.config, opened.plugins, opened.context.folder, opened.context.journal
    observe(plugins, "harness_run_started", RunStarted(folder, config.as_json()))
    pieces = sum(work(config, plugins, opened.task).values(), Work()).times(config.options.seeds)
    journal.set_fact(PLAN, {"rows": len(config.arms) * config.options.seeds, **asdict(pieces)})
    progress.plan(len(config.arms) * config.options.seeds, asdict(pieces))
    outcomes = []
    for seed in range(config.options.seed, config.options.seed + config.options.seeds):
        for arm in config.arms:
            progress.row(f"{arm.method.name}, seed {seed}")
            outcomes.append(run_arm(opened, arm, seed))
    book = opened.context.episodes
    write_items(opened.context, HEADLINE, book.split("test"), book)
    for one in opened.also:
        if one.own_items:
            write_items(opened.context, one.name, one.episodes.split(one.split, one.limit or None), one.episodes)
    made = result_file(name, config, opened.context, outcomes, source, provenance(opened))
    result = check(made, str(folder / "result.json"))
    write_recorded(journal, folder, "result.json", dumps(result))
    copy = None
    if config.options.leaderboard:
        task_name = re.sub(r"[^\w.-]+", "-", result.task.name)
        copy = write(result, Path(config.options.leaderboard) / task_name / f"{name}.json")
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
    headline = read_json(folder / "result.json")["tables"][0]
    observe(plugins, "harness_run_finished", RunFinished(folder, headline["rows"]))
    return done


def _name(record: Mapping[str, Any], folder: Path) -> str:
    """The run's name, even if its folder has been renamed, as it can be a file's name."""
    return re.sub(r"[^\w.-]+", "-", str(record.get("run") or folder.name)).lstrip(".")


def _open(
    folder: Path,
    plugins: Plugins,
    config: Config,
    journal: Journal,
    progress: Progress,
    recompute: bool,
    workers: Workers,
) -> OpenRun:
    sweep(folder)
    weights = WeightStore(folder / "weights")
    if recompute:
        _drop_damaged(journal, weights)
    for name in config.options.observers:
        plugins.observe(name)
    environment = describe_environment()
    _same_world(folder, journal, weights, environment, recompute)
    if config.options.reuse:
        journal.earlier = ReuseSource(config.options.reuse, folder, environment)
    task = build(plugins, Task, config.task, "task")
    hours = config.options.max_hours
    context = RunContext(
        folder,
        journal,
        weights,
        EpisodeBook(task.instance, config.options.limit, task, test_alone=only_tests(config)),
        {},
        progress,
        time.monotonic() + 3600 * hours if hours else 0.0,
        recompute,
    )
    (folder / "weights").mkdir(exist_ok=True)
    if config.options.edits:  # an error is to come now, and not after an outer loop
        read_edits(Path(config.options.edits), config.arms[0].method.name, config.options.seed)
    also = [_open_also(plugins, one, context, task, only_tests(config)) for one in config.also]
    return OpenRun(plugins, config, context, task, also, workers)


def _same_world(
    folder: Path, journal: Journal, weights: WeightStore, environment: Mapping[str, Any], recompute: bool
) -> None:
    """Refuse to mix numbers of two machines or versions in one run; with ``recompute``, begin the run anew here.

    Raises:
        UsageError: the run was begun on another machine or with other versions.
    """
    before = journal.fact("environment")
    differ = world.differences(before, environment) if before else []
    if before is None and not journal.empty:
        differ = ["an environment that is not recorded"]
    if differ and not recompute:
        raise UsageError(
            f"{folder} was begun with {'; '.join(differ)}; go on there, or `harness resume {folder} --recompute` "
            "runs it again from the start with what is here"
        )
    said = [*(journal.fact("recomputed") or []), *([f"recomputed: begun with {'; '.join(differ)}"] if differ else [])]
    if differ:
        journal.begin_anew()
        for digest in weights.held():
            weights.remove(digest)
        journal.set_fact("recomputed", said)
    if before is None or differ:
        journal.set_fact("environment", environment)


def _drop_damaged(journal: Journal, weights: WeightStore) -> None:
    """Forget damaged items and weights, and what was made from them, so that they are made again."""
    bad = {*weights.damaged(), *(digest for digest in journal.referred() if not weights.has(digest))}
    journal.drop_damaged(bad)
    for digest in bad:
        weights.remove(digest)


def _open_also(plugins: Plugins, also: Also, context: RunContext, task: BuiltComponent[Task], alone: bool) -> OpenAlso:
    """A further measure with its task's items, or, without a task of its own, the items of the run."""
    where = f"also.{also.name}"
    evaluator = build(plugins, Evaluator, also.evaluator, f"{where}.evaluator")
    hand_ledger(evaluator, context.journal.ledger)
    other = task if also.task is None else build(plugins, Task, also.task, f"{where}.task")
    book = context.episodes if also.task is None else EpisodeBook(other.instance, built=other, test_alone=alone)
    return OpenAlso(also.name, other, book, evaluator, also.split, also.limit, own_items=also.task is not None)


_EFFECTS = {
    "completion": "completions",
    "edits": "calls",
    "rewards": "calls",
    "scores": "evaluations",
    "trial": "trials",
    "updated": "updates",
}
"""Kind of item -> its name in counts."""


def _ran_of(journal: Journal, opened: OpenRun) -> dict[str, int]:
    """How many items were computed, by kind and component, in words."""
    names = opened.model_names()
    return {
        f"{_EFFECTS.get(kind, kind)} by {names.get(component, component)!r}": count
        for (kind, component), count in sorted(journal.ran_of.items())
        if component != "session"
    }


def _changed(journal: Journal, config: Config) -> list[str]:
    """How this run's components differ from those of the earlier run that most was reused from, else of the newest."""
    if not journal.earlier or not journal.earlier.runs:
        return []
    taken = journal.taken
    run = max(journal.earlier.runs, key=lambda run: taken[run.name])
    out = []
    for arm in config.arms:
        fact = f"components/{arm.method.name}"
        before = fact_of(run, fact)
        out += changes(before, journal.fact(fact)) if before else [f"method {arm.method.name!r} (not there before)"]
    out += [f"{path} (read by {component!r})" for path, component in sorted(journal.earlier.changed.items())]
    return list(dict.fromkeys(out))


def check_folders(config: Config) -> None:
    """Refuse what a run would refuse of the folders that its configuration names, without making any.

    Raises:
        UsageError: nothing can be written under ``out``, or a run that is named is none.
    """
    options = config.options
    out = Path(options.out).absolute()
    there = next(one for one in (out, *out.parents) if one.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise _unwritable(out, "Not a directory" if not there.is_dir() else "Permission denied")
    if options.edits:
        read_edits(Path(options.edits), config.arms[0].method.name, options.seed)
    if options.reuse:
        ReuseSource(options.reuse, out / "new", describe_environment())


def _unwritable(out: Path, why: str | None) -> UsageError:
    return UsageError(f"no run can be written under {out}: {why}; choose another folder with --out")


def _new_folder(config: Config) -> Path:
    """A folder with a name of its own, even among runs started in the same second under another ``out``."""
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    name = "-".join([stamp, config.options.method, str(config.task["use"]), secrets.token_hex(2)])
    folder = Path(config.options.out) / name
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise _unwritable(folder.parent, error.strerror) from error
    return folder


def _differences(before: Any, now: Any, path: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        out = []
        for key in sorted({*before, *now}):
            out += _differences(before.get(key), now.get(key), f"{path}.{key}" if path else key)
        return out
    return [] if before == now else [f"{path}: {before!r} -> {now!r}"]
