"""Reuse of other runs' journals, read only: an effect that one of them booked under the same digest is not done again.

A digest covers everything that an effect depends on, the components' sources included, except the files that were read
on the way, which are recorded with it. So after an edit of a plugin or file, the effects that depend on it are not
found, and all others are. An item that is taken over keeps the cost that was once paid for it. Checksums are checked: a
damaged item is done again here.
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
"""The most runs that are searched, newest first."""
_NEVER = frozenset({"release", "hold"})
"""Kinds of items that concern a run's own weights, and are never taken over."""
_DIGEST = re.compile(r"[0-9a-f]{16,64}")


class ReuseSource:
    """The runs that may be reused: those of the same versions on the same hardware, newest first.

    Args:
        where: ``auto`` (every run in the same folder as this one), or one run's folder.
        folder: the folder of this run.
        environment: this run's environment; results of a run from another one would differ in their bits.

    Raises:
        UsageError: the run that is named does not exist, or was made in another environment.
    """

    def __init__(self, where: str, folder: Path, environment: Mapping[str, Any]) -> None:
        self._folder = folder
        self._environment = environment
        self._sound: dict[Path, bool] = {}
        self._files = Dependencies()
        self.changed: dict[str, str] = {}
        """Path of a changed file -> component whose items were not taken over because of it."""
        if where == "auto":
            beside = (path.parent for path in folder.parent.glob("*/journal.sqlite"))
            found = sorted((run for run in beside if run.resolve() != folder.resolve()), key=_begun, reverse=True)
            self.runs = [run for run in found if not self._refusal(run)][:_RUNS]
            return
        run = Path(where)
        if not (run / "journal.sqlite").is_file():
            siblings = [path.name for path in run.parent.iterdir()] if run.parent.is_dir() else []
            raise UsageError(f"--reuse {where}: there is no run in that folder.{nearest(run.name, siblings)}")
        refusal = self._refusal(run)
        if refusal:
            raise UsageError(f"--reuse {where}: {refusal}")
        self.runs = [run]

    def find(self, digests: Sequence[str]) -> Iterator[tuple[Item, Path]]:
        """Yields finished items, each with the run it is from, once their weights are in this run's folder."""
        missing = dict.fromkeys(digests)
        for run in self.runs:
            try:
                items = self._items(run, list(missing))
            except sqlite3.Error:
                continue  # a run that cannot be read cannot be reused
            for item in items:
                if changed := self._files.changed(item.files):
                    self.changed.update(dict.fromkeys(changed, item.component))
                elif self._bring(item, run):
                    missing.pop(item.digest)
                    yield item, run

    def costs(self, digests: Sequence[str]) -> list[Item]:
        """The costs of items, finished or not, as unfinished items, so that no call is answered from them."""
        found: dict[str, Item] = {}
        for run in self.runs:
            with suppress(sqlite3.Error):
                missing = [digest for digest in digests if digest not in found]
                found |= {item.digest: item for item in self._items(run, missing, unfinished=True)}
        return [replace(item, status="error", result=None, weights=None, files={}) for item in found.values()]

    def fact(self, key: str) -> Any:
        """A fact about the newest run that has it; None where none has."""
        return next((fact for run in self.runs if (fact := fact_of(run, key)) is not None), None)

    def _refusal(self, run: Path) -> str:
        """Why a run cannot be reused; "" where it can."""
        link = next(links(run), None)
        if link is not None:
            return f"{link} is a symbolic link, which a run's folder may not contain"
        try:
            with closing(open_read_only(run)) as database:
                check_format(database, run / "journal.sqlite")
        except (sqlite3.Error, UsageError) as error:
            return str(error)
        recorded = fact_of(run, "environment")
        if not isinstance(recorded, dict):
            return "that run has no record of the versions and hardware it was made with"
        differ = world.differences(recorded, self._environment)
        return f"that run was made with other versions or hardware ({'; '.join(differ)})" if differ else ""

    def _items(self, run: Path, digests: list[str], *, unfinished: bool = False) -> list[Item]:
        """The undamaged items among ``digests`` in a run."""
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
        """Link the item's weights into this run's folder; returns whether all were there and matched their digests."""
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
        """Whether weights exist and match their digest; checked once per process."""
        if weights not in self._sound:
            try:
                self._sound[weights] = check_weights(weights) is not None
            except Damaged:
                self._sound[weights] = False
        return self._sound[weights]


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The differences between two records of a method's components, such as ``editor 'mine' (its source changed)``."""
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
    """A fact about another run; None where it has none of that key, or its journal cannot be read."""
    try:
        with closing(open_read_only(run)) as database:
            check_format(database, run)
            row = database.execute("SELECT key, value, seal FROM meta WHERE key = ?", (key,)).fetchone()
    except (sqlite3.Error, UsageError):
        return None
    return json.loads(row[1]) if row and is_sealed(row[:2], row[2]) else None


def _begun(run: Path) -> tuple[int, str]:
    """When a run began, as a sort key: the time its configuration was written, which a renamed folder keeps."""
    config = run / "config.json"
    return (config.stat().st_mtime_ns if config.is_file() else 0, run.name)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
