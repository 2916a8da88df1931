"""The run's journal: one SQLite file in which every finished effect is booked under the digest of what it was.

``items`` is keyed by content, so a finished item is never done twice, whichever row of the run asks for it. ``calls``
is the order in which each row's outer loop made its calls, so that a resumed loop which behaves differently is caught.
``touched`` says which rows used which items, in which phase: the basis of the costs.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from harness import reads
from harness.books.dependencies import SCHEMA, Dependencies, unsettled
from harness.books.item import Item
from harness.errors import RunError, UsageError

if TYPE_CHECKING:
    from harness.books.reuse import ReuseSource

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS items (
    digest TEXT PRIMARY KEY, kind TEXT NOT NULL, component TEXT NOT NULL, status TEXT NOT NULL,
    result TEXT NOT NULL, cost TEXT NOT NULL, weights TEXT);
CREATE TABLE IF NOT EXISTS calls (
    scope TEXT NOT NULL, position INTEGER NOT NULL, kind TEXT NOT NULL, component TEXT NOT NULL, digest TEXT NOT NULL,
    PRIMARY KEY (scope, position));
CREATE TABLE IF NOT EXISTS touched (
    scope TEXT NOT NULL, digest TEXT NOT NULL, phase TEXT NOT NULL, stage TEXT NOT NULL,
    PRIMARY KEY (scope, digest, phase, stage)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS refs (digest TEXT PRIMARY KEY, count INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS kept (scope TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (scope, name));
"""


class Journal:
    """The journal of one run's folder. One process writes it at a time.

    Args:
        recompute: whether an item is made again when a file that it was made from changed, instead of refused.

    Raises:
        RunError: the folder is being written by another process, or cannot be written at all.
    """

    def __init__(self, folder: Path, recompute: bool = False) -> None:
        self.path = folder / "journal.sqlite"
        self._recompute = recompute
        self._files = Dependencies()
        self.reused = 0
        self.ran_of: Counter[tuple[str, str]] = Counter()
        """(kind, component) -> items booked in this life of the run."""
        self.earlier: ReuseSource | None = None
        """Where what is not booked here is looked for."""
        self.taken: Counter[str] = Counter()
        """Name of an earlier run -> items taken over from it."""
        try:
            self._lock: IO[str] = open(folder / "lock", "w")  # noqa: SIM115 - held as long as the journal is
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunError(f"{folder} is being written by another process; wait for it, or end it") from None
            self._db = sqlite3.connect(self.path, isolation_level=None, timeout=30)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(_SCHEMA + SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise RunError(f"the journal {self.path} cannot be written: {error}") from error

    @property
    def ran(self) -> int:
        """Items booked in this life of the run."""
        return self.ran_of.total()

    def close(self) -> None:
        """Fold the write-ahead log in and let others open the folder."""
        self._db.close()
        self._lock.close()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """All of it or nothing, also when the process is killed inside."""
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except sqlite3.OperationalError as error:
            room = os.statvfs(self.path.parent)
            free = room.f_bavail * room.f_frsize // 2**20
            raise RunError(
                f"the journal {self.path} could not be written ({error}; {free} MiB free on that disk); "
                "what was booked before is intact: make room and resume"
            ) from error

    # --- items ---

    def find(self, digests: Sequence[str]) -> dict[str, Item]:
        """The finished items among ``digests``, of this run or taken over from an earlier one.

        Items booked as ``error`` are not finished: they are tried again. The files that an item was made from are
        counted for whatever is being made now.

        Raises:
            UsageError: a file that an item of this run was made from changed since, and nothing may be recomputed.
        """
        out: dict[str, Item] = {}
        for start in range(0, len(digests), 500):
            part = list(digests[start : start + 500])
            marks = ",".join("?" * len(part))
            rows = self._db.execute(
                f"SELECT digest, kind, component, status, result, cost, weights FROM items WHERE digest IN ({marks})"
                " AND status != 'error'",
                part,
            )
            files = self._files.of(self._db, part)
            for row in rows:
                key, kind, component, status, result, cost, weights = row
                made_from = files.get(key, {})
                item = Item(key, kind, component, status, json.loads(result), json.loads(cost), weights, made_from)
                if self._still_holds(item):
                    out[key] = item
        missing = [digest for digest in digests if digest not in out]
        if self.earlier and missing:
            with reads.untracked():
                taken = list(self.earlier.find(missing))
            with self.writing():
                self._write([item for item, _ in taken])
            out |= {item.digest: item for item, _ in taken}
            self.taken.update(run.name for _, run in taken)
        for item in out.values():
            reads.note(item.files)
        return out

    def _still_holds(self, item: Item) -> bool:
        changed = self._files.changed(item.files)
        if changed and not self._recompute and not unsettled(item.files, changed):
            raise UsageError(
                f"{self.path.parent}: {changed[0]} changed since it was read in this run for {item.kind} by "
                f"{item.component!r}; `harness resume --recompute` runs again what the change "
                "touches and reuses the rest"
            )
        return not changed

    def book(self, items: Sequence[Item]) -> None:
        """Book finished items, and take a reference on the weights they made. Call inside :meth:`writing`."""
        self._write(items)
        self.ran_of.update((item.kind, item.component) for item in items)

    def note(self, item: Item) -> None:
        """Book what the core does for itself: as :meth:`book`, but no work of the run. Call inside :meth:`writing`."""
        self._write([item])

    def _write(self, items: Sequence[Item]) -> None:
        for item in items:
            self._db.execute(
                "INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?, ?, ?, ?)",
                (item.digest, item.kind, item.component, item.status, _text(item.result), _text(item.cost),
                 item.weights),
            )  # fmt: skip
            self._files.write(self._db, item)
            for weights in (item.weights or "").split(","):
                if weights:
                    self.refer(weights, +1)

    def adopt(self, digests: Sequence[str], there: Callable[[str], bool]) -> None:
        """Take references for a call that is about to use finished items of another row, or of an earlier call.

        An item whose weights are gone (released by whoever made them) is forgotten, so that it is made again.
        """
        rows = [
            row
            for start in range(0, len(digests), 500)
            for row in self._db.execute(
                "SELECT digest, weights FROM items WHERE weights IS NOT NULL AND digest IN"
                f" ({','.join('?' * len(digests[start : start + 500]))})",
                list(digests[start : start + 500]),
            )
        ]
        if not rows:
            return
        with self.writing():
            for digest, weights in rows:
                names = weights.split(",")
                if all(map(there, names)):
                    for name in names:
                        self.refer(name, +1)
                else:
                    self._db.execute("DELETE FROM items WHERE digest = ?", (digest,))

    def touch(self, scope: str, phase: str, stage: str, digests: Sequence[str]) -> None:
        """Say that a row of the run used these items. Call inside :meth:`writing`."""
        self._db.executemany(
            "INSERT OR IGNORE INTO touched VALUES (?, ?, ?, ?)", [(scope, d, phase, stage) for d in digests]
        )

    def costs(self, scope: str) -> dict[tuple[str, str], dict[str, float]]:
        """(stage, phase) -> summed costs of everything the row used, whoever of the run paid first."""
        sums: dict[tuple[str, str], dict[str, float]] = {}
        rows = self._db.execute(
            "SELECT t.stage, t.phase, i.cost FROM touched t JOIN items i ON i.digest = t.digest WHERE t.scope = ?",
            (scope,),
        )
        for stage, phase, cost in rows:
            into = sums.setdefault((stage, phase), {})
            for name, value in json.loads(cost).items():
                into[name] = into.get(name, 0.0) + value
        return sums

    # --- the order of an outer loop's calls ---

    def call_at(self, scope: str, position: int) -> tuple[str, str, str] | None:
        """(kind, component, digest) of the call that was made at this position, if one was."""
        row = self._db.execute(
            "SELECT kind, component, digest FROM calls WHERE scope = ? AND position = ?", (scope, position)
        ).fetchone()
        return tuple(row) if row else None

    def add_call(self, scope: str, position: int, kind: str, component: str, digest: str) -> None:
        with self.writing():
            self._db.execute("INSERT INTO calls VALUES (?, ?, ?, ?, ?)", (scope, position, kind, component, digest))

    def forget_calls(self, scope: str, position: int) -> None:
        """Drop the recorded order from this position on: what follows will be recomputed where it differs."""
        with self.writing():
            self._db.execute("DELETE FROM calls WHERE scope = ? AND position >= ?", (scope, position))

    # --- weights' references, scratch, facts about the run ---

    def refer(self, weights: str, by: int) -> int:
        """Change the number of references to weights on disk; answers what it is now. Call inside :meth:`writing`."""
        self._db.execute(
            "INSERT INTO refs VALUES (?, ?) ON CONFLICT (digest) DO UPDATE SET count = max(0, count + ?)",
            (weights, max(0, by), by),
        )
        return int(self._db.execute("SELECT count FROM refs WHERE digest = ?", (weights,)).fetchone()[0])

    def keep(self, scope: str, name: str, value: Any) -> None:
        with self.writing():
            self._db.execute("INSERT OR REPLACE INTO kept VALUES (?, ?, ?)", (scope, name, _text(value)))

    def kept(self, scope: str, name: str) -> Any:
        row = self._db.execute("SELECT value FROM kept WHERE scope = ? AND name = ?", (scope, name)).fetchone()
        return json.loads(row[0]) if row else None

    def set_fact(self, key: str, value: Any) -> None:
        with self.writing():
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, _text(value)))

    def fact(self, key: str) -> Any:
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row else None


def _text(value: Any) -> str:
    """JSON text of what is already plain JSON; NaN is refused."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
