"""How far a run is, from its folder alone: while another process writes it, after it broke off, or when it is over."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from harness.books.folder import FILE, goes_on, has_lost_its_journal, refuse_links
from harness.books.item import is_sealed
from harness.books.journal import check_format, open_read_only
from harness.errors import RunError, UsageError
from harness.runs import record as records
from harness.runs.runner import PLAN

State = Literal["running", "broken off", "finished"]


@dataclass(frozen=True)
class Status:
    """A run's state."""

    run: str
    state: State
    rows: Mapping[str, str]
    """``method, seed 0`` -> ``finished``, ``begun`` or ``not begun``."""
    done: Mapping[str, int]
    """``updates`` and ``completions`` -> how many are booked."""
    planned: Mapping[str, int]
    """``updates`` -> how many were planned, as far as its loops declare their work; empty where it is not known."""
    seconds: float
    """What all that is booked took."""
    usd: float
    """US dollars that paid calls have cost, or may have."""
    errors: int
    """Results that were lost for errors of ours; they are tried again."""
    last: float
    """Seconds since something was last booked."""
    now: str
    """What is to be done, or the command that goes on."""
    rounds: Mapping[str, int] = field(default_factory=dict)
    """``method, seed 0`` -> calls that its outer loop has made, where it has one."""


def status(run: Path) -> Status:
    """Look at a run without touching it.

    Raises:
        UsageError: there is no run in the folder, or it is of another version of the harness.
        RunError: its journal cannot be read.
    """
    record = records.read(run)
    refuse_links(run)
    path = run / "journal.sqlite"
    if not path.is_file():
        raise UsageError(f"no run at {run}: there is no {path}")
    try:
        with closing(open_read_only(run)) as database:
            check_format(database, path)
            return _status(run, record, database)
    except sqlite3.Error as error:
        raise RunError(f"{path} cannot be read: {error}; `harness verify {run}` says more") from error


def _status(run: Path, record: Mapping[str, Any], database: sqlite3.Connection) -> Status:
    resolved = record["resolved"]
    seeds = range(resolved["seed"], resolved["seed"] + int(resolved.get("seeds", 1)))
    over = {scope for (scope,) in database.execute("SELECT scope FROM kept WHERE name = 'deployed'")}
    begun = {scope for (scope,) in database.execute("SELECT DISTINCT scope FROM touched")}
    calls = dict(database.execute("SELECT scope, count(*) FROM calls GROUP BY scope").fetchall())
    rows, loops = {}, {}
    for seed in seeds:
        for method in resolved["arms"]:
            scope, name = f"{method}/{seed}", f"{method}, seed {seed}"
            rows[name] = "finished" if scope in over else "begun" if scope in begun or scope in calls else "not begun"
            if scope in calls:
                loops[name] = calls[scope]
    kinds = dict(database.execute("SELECT kind, count(*) FROM items WHERE status != 'error' GROUP BY kind").fetchall())
    [(seconds,)] = database.execute(
        "SELECT coalesce(sum(json_extract(cost, '$.seconds')), 0) FROM items WHERE kind != 'within'"
    ).fetchall()
    # Without a result, it is only what something cost that another run's reused result took.
    [(errors,)] = database.execute("SELECT count(*) FROM items WHERE status = 'error' AND result != 'null'").fetchall()
    usd = sum(float(one) for (one,) in database.execute("SELECT usd FROM ledger"))
    files = [path for path in run.glob("journal.sqlite*") if not path.name.endswith("-shm")]
    running = _is_written(run)
    finished = (run / "result.json").exists() and all(state == "finished" for state in rows.values())
    state: State = "running" if running else "finished" if finished else "broken off"
    plan = _fact(database, PLAN) or {}
    lost = has_lost_its_journal(run, _fact(database, FILE + records.NAME))
    said = {
        "running": "another process is writing it",
        "broken off": f"its journal is lost; see `harness verify {run}`" if lost else f"`{goes_on(run)}` goes on",
        "finished": f"`harness view {run}` shows it",
    }
    return Status(
        run=str(record.get("run") or run.name),
        state=state,
        rows=rows,
        done={
            "updates": kinds.get("trial", 0) + kinds.get("updated", 0),
            "completions": kinds.get("completion", 0),
        },
        planned={"updates": int(plan["updates"])} if plan.get("updates") else {},
        seconds=float(seconds),
        usd=usd,
        errors=int(errors),
        last=max(0.0, time.time() - max((path.stat().st_mtime for path in files), default=time.time())),
        now=said[state],
        rounds=loops,
    )


def _is_written(run: Path) -> bool:
    """Whether a process holds the run's lock."""
    try:
        held = os.open(run / "lock", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(held)
    return False


def _fact(database: sqlite3.Connection, key: str) -> Any:
    for *values, sealed in database.execute("SELECT key, value, seal FROM meta WHERE key = ?", (key,)):
        return json.loads(values[1]) if is_sealed(values, sealed) else None
    return None
