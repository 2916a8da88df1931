"""Other runs' journals, read only: what one of them booked under the same digest is not done again.

A digest covers everything that an effect depends on, its components' sources included, save the files that were read on
the way, which are recorded with it; so what an edited plugin or file no longer agrees with is not found, and everything
else is. What is taken over keeps the cost that was once paid for it.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from harness.books.dependencies import Dependencies
from harness.books.item import Item
from harness.errors import UsageError, nearest

_RUNS = 20
"""So many of the newest runs are looked through."""
_NEVER = frozenset({"release", "hold"})
"""Kinds of items that are about a run's own weights."""


class ReuseSource:
    """The runs that may be reused: those of the same versions on the same hardware, newest first.

    Args:
        where: ``auto`` (every run beside ``folder``), or one run's folder.
        folder: the run that looks.
        environment: its environment; a run of another one would give other bits.

    Raises:
        UsageError: the one run is not there, or was made in another environment.
    """

    def __init__(self, where: str, folder: Path, environment: Mapping[str, Any]) -> None:
        self._folder = folder
        self._files = Dependencies()
        self.changed: dict[str, str] = {}
        """Path of a changed file -> component whose items were not taken over for it."""
        self._environment = _comparable(environment)
        if where == "auto":
            beside = (path.parent for path in folder.parent.glob("*/journal.sqlite"))
            found = sorted((run for run in beside if run.resolve() != folder.resolve()), reverse=True)
            self.runs = [run for run in found if self._agrees(run)][:_RUNS]
            return
        run = Path(where)
        if not (run / "journal.sqlite").is_file():
            siblings = [path.name for path in run.parent.iterdir()] if run.parent.is_dir() else []
            raise UsageError(f"--reuse {where}: there is no run.{nearest(run.name, siblings)}")
        if not self._agrees(run):
            raise UsageError(
                f"--reuse {where}: that run was made with other versions or hardware; its bits would differ"
            )
        self.runs = [run]

    def find(self, digests: Sequence[str]) -> Iterator[tuple[Item, Path]]:
        """Finished items with the run they are from; their weights are in this run's folder by then."""
        missing = dict.fromkeys(digests)
        for run in self.runs:
            try:
                items = self._items(run, list(missing))
            except sqlite3.Error:
                continue  # a run that cannot be read is one that cannot be reused
            for item in items:
                if changed := self._files.changed(item.files):
                    self.changed.update(dict.fromkeys(changed, item.component))
                elif self._bring(item, run):
                    missing.pop(item.digest)
                    yield item, run

    def fact(self, key: str) -> Any:
        """A fact that the newest of the runs which know it was made under; None where none does."""
        return next((fact for run in self.runs if (fact := fact_of(run, key)) is not None), None)

    def _agrees(self, run: Path) -> bool:
        recorded = fact_of(run, "environment")
        return isinstance(recorded, dict) and _comparable(recorded) == self._environment

    def _items(self, run: Path, digests: list[str]) -> list[Item]:
        out = []
        with closing(_open(run)) as database:
            for start in range(0, len(digests), 500):
                part = digests[start : start + 500]
                rows = database.execute(
                    "SELECT digest, kind, component, status, result, cost, weights FROM items"
                    f" WHERE digest IN ({','.join('?' * len(part))}) AND status != 'error'",
                    part,
                )
                files = self._files.of(database, part)
                for digest, kind, component, status, result, cost, weights in rows:
                    parts = json.loads(result), json.loads(cost), weights, files.get(digest, {})
                    out.append(Item(digest, kind, component, status, *parts))
        return [item for item in out if item.kind not in _NEVER]

    def _bring(self, item: Item, run: Path) -> bool:
        """Link the item's weights into this run's folder; whether they were all there."""
        for digest in filter(None, (item.weights or "").split(",")):
            source, final = run / "weights" / digest, self._folder / "weights" / digest
            if final.is_dir():
                continue
            if not source.is_dir():
                return False
            partial = final.with_name(f".{digest}.{os.getpid()}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(source, partial, copy_function=_link)
            os.replace(partial, final)
        return True


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two records of a method's components: ``editor 'mine' (its source changed)``."""
    out = []
    for slot, identity in now.items():
        old = before.get(slot)
        if old == identity:
            continue
        name = f"{slot} {identity['component']!r}"
        if old is None or old["component"] != identity["component"]:
            out.append(f"{name} (not there before)")
        elif old["source"] != identity["source"]:
            out.append(f"{name} (its source changed)")
        elif old["settings"] != identity["settings"]:
            keys = sorted({*old["settings"], *identity["settings"]})
            moved = [key for key in keys if old["settings"].get(key) != identity["settings"].get(key)]
            out.append(f"{name} (its {', '.join(moved)} changed)")
        else:
            out.append(f"{name} (a part of it changed)")
    return out


def _open(run: Path) -> sqlite3.Connection:
    path = run / "journal.sqlite"
    # Without a write-ahead log nobody is writing, and no file need be made beside the journal to read it.
    how = "mode=ro" if path.with_name("journal.sqlite-wal").exists() else "immutable=1"
    return sqlite3.connect(f"{path.resolve().as_uri()}?{how}", uri=True, timeout=5)


def fact_of(run: Path, key: str) -> Any:
    """A fact of another run; None where it is not known, or the journal cannot be read."""
    try:
        with closing(_open(run)) as database:
            row = database.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    except sqlite3.Error:
        return None
    return json.loads(row[0]) if row else None


def _comparable(environment: Mapping[str, Any]) -> dict[str, Any]:
    """The commit says nothing that the sources' digests do not say better."""
    return {key: value for key, value in environment.items() if key != "commit"}


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
