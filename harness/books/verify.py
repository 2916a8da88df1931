"""Checks everything that a run has stored against its checksums; writes nothing."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.books import ledger
from harness.books.folder import FILE, has_lost_its_journal, links, sha256
from harness.books.item import COLUMNS, is_sealed
from harness.books.journal import check_format, open_read_only
from harness.books.store import check_weights
from harness.errors import Damaged, UsageError


@dataclass(frozen=True)
class Damage:
    """One thing that is no longer what was written."""

    path: str
    """The damaged file or folder, relative to the run's."""
    what: str
    """What is wrong with it, for people."""
    item: str = ""
    """The key of the damaged item of the journal; "" for anything else."""
    fatal: bool = False
    """Whether nothing can go on from it: ``resume --recompute`` has to be able to read configuration and journal."""


@dataclass
class Report:
    """What was checked, and what is damaged."""

    checked: dict[str, int] = field(default_factory=dict)
    """``items``, ``notes`` and ``payments`` (of the journal), ``weights`` and ``files`` -> the number checked."""
    damaged: list[Damage] = field(default_factory=list)


def verify(run: Path, said: Callable[[str, int, int], None] = lambda what, done, total: None) -> Report:
    """Check a run's journal, weights and files.

    Args:
        said: called with the progress, as ``said("weights", 3, 56)``.

    Raises:
        UsageError: there is no run in the folder, or another version of the harness wrote it.
    """
    path = run / "journal.sqlite"
    report = Report()
    if not path.is_file():
        if not (run / "config.json").is_file():
            raise UsageError(f"no run at {run}: there is no {path}")
        report.damaged.append(Damage(path.name, "is missing"))
        return report
    if not path.stat().st_size:
        report.damaged.append(Damage(path.name, "is empty"))
        return report
    report.damaged += [Damage(_below(run, link), "is a symbolic link") for link in links(run)]
    if report.damaged:
        return report
    try:
        with closing(open_read_only(run)) as database:
            check_format(database, path)
            held, files = _journal(database, report, said)
    except sqlite3.Error as error:
        report.damaged.append(Damage(path.name, f"cannot be read: {error}", fatal=True))
        return report
    if has_lost_its_journal(run, files.get("config.json")):
        report.damaged.append(Damage(path.name, "has lost what it held"))
    _weights(run, held, report, said)
    _files(run, files, report, said)
    return report


def _journal(
    database: sqlite3.Connection, report: Report, said: Callable[[str, int, int], None]
) -> tuple[set[str], dict[str, str]]:
    """Check the journal; returns the weights that something refers to, and the files with their digests."""
    for (line,) in database.execute("PRAGMA quick_check"):
        if line != "ok":
            report.damaged.append(Damage("journal.sqlite", f"SQLite finds: {line}"))
    [(total,)] = database.execute("SELECT count(*) FROM items").fetchall()
    for at, row in enumerate(database.execute(f"SELECT {', '.join(COLUMNS)}, seal FROM items"), 1):
        if not is_sealed(row[:-1], row[-1]):
            what = f"item {str(row[0])[:12]!r} ({str(row[1])[:40]!r} by {str(row[2])[:40]!r}) is not what was booked"
            report.damaged.append(Damage("journal.sqlite", what, str(row[0])))
        said("items", at, total)
    report.checked["items"] = total
    files: dict[str, str] = {}
    notes = 0
    for table in ("meta", "kept"):
        for *values, sealed in database.execute(f"SELECT * FROM {table}"):
            notes += 1
            if not is_sealed(values, sealed):
                what = f"the entry {str(values[-2])!r} is not what was written"
                report.damaged.append(Damage("journal.sqlite", what))
            elif table == "meta" and values[0].startswith(FILE):
                files[values[0].removeprefix(FILE)] = json.loads(values[1])
    report.checked["notes"] = notes
    entries = 0
    for entry, *values, sealed in database.execute(f"SELECT entry, {', '.join(ledger.COLUMNS)}, seal FROM ledger"):
        entries += 1
        if not is_sealed(values, sealed):
            report.damaged.append(Damage("journal.sqlite", f"entry {entry} of the ledger is not what was written"))
    report.checked["payments"] = entries
    held = {str(digest) for (digest,) in database.execute("SELECT digest FROM refs WHERE count > 0")}
    return held, files


def _weights(run: Path, held: set[str], report: Report, said: Callable[[str, int, int], None]) -> None:
    there = {path.name for path in (run / "weights").glob("[!.]*")}
    for at, digest in enumerate(sorted(there), 1):
        try:
            check_weights(run / "weights" / digest)
        except Damaged:
            report.damaged.append(Damage(f"weights/{digest}", "these weights have another digest, or cannot be read"))
        said("weights", at, len(there))
    missing = sorted(held - there)
    report.damaged += [Damage(f"weights/{digest}", "these weights are missing") for digest in missing]
    report.checked["weights"] = len(there)


def _files(run: Path, files: dict[str, str], report: Report, said: Callable[[str, int, int], None]) -> None:
    for at, name in enumerate(sorted(files), 1):
        try:
            same = sha256((run / name).read_bytes()) == files[name]
            what = "" if same else "is not what was written"
        except OSError as error:
            what = f"cannot be read: {error.strerror}"
        if what:
            report.damaged.append(Damage(name, what, fatal=name == "config.json" and not _is_json(run / name)))
        said("files", at, len(files))
    report.checked["files"] = len(files)


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return True


def remedy(run: Path, report: Report) -> str:
    """What can be done about the damage, for people; "" where there is none."""
    fatal = {damage.path for damage in report.damaged if damage.fatal}
    if fatal:
        kept = "" if "journal.sqlite" in fatal else f" with --reuse {run}"
        return f"nothing can go on from this run: restore a copy of it, or run its command again{kept}"
    return f"`harness resume {run} --recompute` computes again what is damaged" if report.damaged else ""


def _below(run: Path, path: Path) -> str:
    return str(path.relative_to(run))


def as_json(run: Path, report: Report) -> dict[str, Any]:
    """The report as plain JSON values."""
    damaged = [{"path": one.path, "what": one.what, "item": one.item} for one in report.damaged]
    return {"run": str(run), "sound": not damaged, "checked": report.checked, "damaged": damaged}
