"""Other runs' journals, read only: what one of them booked under the same digest is not done again.

A digest covers everything that an effect depends on, its components' sources included, save the files that were read on
the way, which are recorded with it; so what an edited plugin or file no longer agrees with is not found, and everything
else is. What is taken over keeps the cost that was once paid for it. Checksums are checked: what is not as it was
written there is done again here.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.books import world
from harness.books.dependencies import Dependencies
from harness.books.folder import links
from harness.books.item import Item, from_row, is_sealed
from harness.books.journal import ITEMS, check_format, open_read_only
from harness.books.store import check_weights
from harness.errors import Damaged, UsageError, nearest

_RUNS = 20
"""So many of the newest runs are looked through."""
_NEVER = frozenset({"release", "hold"})
"""Kinds of items that are about a run's own weights."""
_DIGEST = re.compile(r"[0-9a-f]{16,64}")


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
        self._environment = environment
        self._sound: dict[Path, bool] = {}
        self._files = Dependencies()
        self.changed: dict[str, str] = {}
        """Path of a changed file -> component whose items were not taken over for it."""
        if where == "auto":
            beside = (path.parent for path in folder.parent.glob("*/journal.sqlite"))
            found = sorted((run for run in beside if run.resolve() != folder.resolve()), key=_begun, reverse=True)
            self.runs = [run for run in found if not self._refusal(run)][:_RUNS]
            return
        run = Path(where)
        if not (run / "journal.sqlite").is_file():
            siblings = [path.name for path in run.parent.iterdir()] if run.parent.is_dir() else []
            raise UsageError(f"--reuse {where}: there is no run.{nearest(run.name, siblings)}")
        refusal = self._refusal(run)
        if refusal:
            raise UsageError(f"--reuse {where}: {refusal}")
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

    def costs(self, digests: Sequence[str]) -> list[Item]:
        """What items cost, whole or not, as items that are not finished: nothing is answered by them."""
        found: dict[str, Item] = {}
        for run in self.runs:
            with suppress(sqlite3.Error):
                missing = [digest for digest in digests if digest not in found]
                found |= {item.digest: item for item in self._items(run, missing, unfinished=True)}
        return [replace(item, status="error", result=None, weights=None, files={}) for item in found.values()]

    def fact(self, key: str) -> Any:
        """A fact that the newest of the runs which know it was made under; None where none does."""
        return next((fact for run in self.runs if (fact := fact_of(run, key)) is not None), None)

    def _refusal(self, run: Path) -> str:
        """Why nothing can be taken from a run; "" where something can."""
        link = next(links(run), None)
        if link is not None:
            return f"{link} is a symbolic link, and a run's folder holds its own files"
        try:
            with closing(open_read_only(run)) as database:
                check_format(database, run / "journal.sqlite")
        except (sqlite3.Error, UsageError) as error:
            return str(error)
        recorded = fact_of(run, "environment")
        if not isinstance(recorded, dict):
            return "it is not known what that run was made with"
        differ = world.differences(recorded, self._environment)
        return f"that run was made with other versions or hardware ({'; '.join(differ)})" if differ else ""

    def _items(self, run: Path, digests: list[str], *, unfinished: bool = False) -> list[Item]:
        """What is whole of it: an item that is not what was booked is done again here."""
        out = []
        only = "" if unfinished else " AND status != 'error'"
        with closing(open_read_only(run)) as database:
            for start in range(0, len(digests), 500):
                part = digests[start : start + 500]
                marks = ",".join("?" * len(part))
                files = self._files.of(database, part)
                for row in database.execute(f"{ITEMS} WHERE digest IN ({marks}){only}", part):
                    with suppress(Damaged):
                        out.append(from_row(row, run / "journal.sqlite", files.get(row[0])))
        return [item for item in out if item.kind not in _NEVER]

    def _bring(self, item: Item, run: Path) -> bool:
        """Link the item's weights into this run's folder; whether they were all there, and what their names say."""
        for digest in filter(None, (item.weights or "").split(",")):
            source, final = run / "weights" / digest, self._folder / "weights" / digest
            if not _DIGEST.fullmatch(digest):
                return False
            if final.is_dir():
                continue
            if not self._is_sound(source):
                return False
            partial = final.with_name(f".{digest}.{os.getpid()}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(source, partial, copy_function=_link)
            os.replace(partial, final)
        return True

    def _is_sound(self, weights: Path) -> bool:
        """Whether weights are there and are what they are called; looked at once."""
        if weights not in self._sound:
            try:
                self._sound[weights] = check_weights(weights) is not None
            except Damaged:
                self._sound[weights] = False
        return self._sound[weights]


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


def fact_of(run: Path, key: str) -> Any:
    """A fact of another run; None where it is not known, or the journal cannot be read."""
    try:
        with closing(open_read_only(run)) as database:
            check_format(database, run)
            row = database.execute("SELECT key, value, seal FROM meta WHERE key = ?", (key,)).fetchone()
    except (sqlite3.Error, UsageError):
        return None
    return json.loads(row[1]) if row and is_sealed(row[:2], row[2]) else None


def _begun(run: Path) -> tuple[int, str]:
    """When a run began; its configuration is written once, whatever its folder is called since."""
    config = run / "config.json"
    return (config.stat().st_mtime_ns if config.is_file() else 0, run.name)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
