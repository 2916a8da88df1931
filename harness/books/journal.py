"""The run's journal: one SQLite file in which every finished effect is booked under the digest of what it depends on.

``items`` is keyed by content, so a finished item is never done twice, whichever row of the run asks for it. ``calls``
is the order in which each row's outer loop made its calls, so that a resumed loop that behaves differently is caught.
``touched`` records which rows used which items, and in which phase, from which costs are summed. ``ledger`` records
what paid calls cost (:mod:`harness.books.ledger`).

Everything that results depend on is sealed with a checksum, which is checked on reading. The format's version is
SQLite's ``user_version``; a file of another version is refused.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import reads
from harness.books.dependencies import SCHEMA, Dependencies, unsettled
from harness.books.folder import refuse_links
from harness.books.item import COLUMNS, WITHIN, Item, from_row, is_sealed, seal, text, to_row
from harness.books.ledger import TABLE as LEDGER
from harness.books.ledger import Ledger
from harness.errors import Damaged, RunError, UsageError

if TYPE_CHECKING:
    from harness.books.reuse import ReuseSource

FORMAT = 3
"""Increased with every change of what is written. Format 1 had no checksums, format 2 no notes of what happened inside
an item."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL, seal TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS items (
    digest TEXT PRIMARY KEY, kind TEXT NOT NULL, component TEXT NOT NULL, status TEXT NOT NULL,
    result TEXT NOT NULL, cost TEXT NOT NULL, weights TEXT, seal TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS calls (
    scope TEXT NOT NULL, position INTEGER NOT NULL, kind TEXT NOT NULL, component TEXT NOT NULL, digest TEXT NOT NULL,
    PRIMARY KEY (scope, position));
CREATE TABLE IF NOT EXISTS touched (
    scope TEXT NOT NULL, digest TEXT NOT NULL, phase TEXT NOT NULL, stage TEXT NOT NULL,
    PRIMARY KEY (scope, digest, phase, stage)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS refs (digest TEXT PRIMARY KEY, count INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS kept (scope TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, seal TEXT NOT NULL,
    PRIMARY KEY (scope, name));
"""
ITEMS = f"SELECT {', '.join(COLUMNS)}, seal FROM items"


class Journal:
    """The journal of one run's folder. One process writes it at a time.

    Args:
        recompute: where a file that an item was made from has changed, make the item again instead of refusing.

    Raises:
        RunError: the folder is being written by another process, or cannot be written at all.
    """

    def __init__(self, folder: Path, recompute: bool = False) -> None:
        self.path = folder / "journal.sqlite"
        self._recompute = recompute
        self._files = Dependencies()
        self.reused = 0
        self.ran_of: Counter[tuple[str, str]] = Counter()
        """(kind, component) -> number of items booked by this process."""
        self.earlier: ReuseSource | None = None
        """Earlier runs in which items that are not booked here are looked for."""
        self.taken: Counter[str] = Counter()
        """Name of an earlier run -> number of items taken over from it."""
        refuse_links(folder)
        try:
            # The file is only there to be locked: it is neither truncated nor followed if it has become a link.
            self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(self._lock)
                raise RunError(f"{folder} is being written by another process; wait for it, or end it") from None
            self._db = connect(self.path)
            check_format(self._db, self.path)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.executescript(f"{_SCHEMA} {SCHEMA} {LEDGER} PRAGMA user_version={FORMAT};")
            self.ledger = Ledger(self.path, mend=recompute)
            """What the run's paid calls cost, earlier processes included."""
        except Damaged:
            self._db.close()
            os.close(self._lock)
            raise
        except (OSError, sqlite3.OperationalError) as error:
            raise RunError(f"the journal {self.path} cannot be written: {error}") from error
        except sqlite3.DatabaseError as error:
            raise _broken(self.path, error) from error

    @property
    def ran(self) -> int:
        """The number of items booked by this process."""
        return self.ran_of.total()

    def close(self) -> None:
        """Close the database, which merges its write-ahead log, and release the folder's lock."""
        self.ledger.close()
        self._db.close()
        os.close(self._lock)

    @property
    def empty(self) -> bool:
        """Whether no process has booked anything in this run yet."""
        return not self._rows("SELECT 1 FROM items UNION ALL SELECT 1 FROM ledger LIMIT 1")

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A transaction: everything inside is written or nothing, even if the process is killed.

        Raises:
            RunError: the journal cannot be written.
        """
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
        except sqlite3.DatabaseError as error:
            raise _broken(self.path, error) from error

    def _rows(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        try:
            return self._db.execute(query, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise _broken(self.path, error) from error

    # --- items ---

    def find(self, digests: Sequence[str]) -> dict[str, Item]:
        """The finished items among ``digests``, from this run or taken over from an earlier one.

        Items booked as ``error`` are not finished: they are tried again. The files that a found item was made from are
        noted (:mod:`harness.reads`) for the components that are being called.

        Raises:
            UsageError: a file that an item of this run was made from has changed, and ``recompute`` is off.
            Damaged: an item is not what was booked.
        """
        out: dict[str, Item] = {}
        for start in range(0, len(digests), 500):
            part = list(digests[start : start + 500])
            files = self._files.of(self._db, part)
            for row in self._rows(f"{ITEMS} WHERE digest IN ({_marks(part)}) AND status != 'error'", part):
                item = from_row(row, self.path, files.get(row[0]))
                if self._still_holds(item):
                    out[item.digest] = item
        missing = [digest for digest in digests if digest not in out]
        if self.earlier and missing:
            with reads.untracked():
                taken = list(self.earlier.find(missing))
            with self.writing():
                self._write([item for item, _ in taken])
            out |= {item.digest: item for item, _ in taken}
            self.taken.update(run.name for item, run in taken if item.kind != WITHIN)
        for item in out.values():
            reads.note(item.files)
        return out

    def _still_holds(self, item: Item) -> bool:
        changed = self._files.changed(item.files)
        if changed and not self._recompute and not unsettled(item.files, changed):
            raise UsageError(
                f"{self.path.parent}: {changed[0]} changed since it was read in this run for {item.kind} by "
                f"{item.component!r}; `harness resume --recompute` runs again what the change "
                "affects and reuses the rest"
            )
        return not changed

    def book(self, items: Sequence[Item]) -> None:
        """Book finished items, and take a reference to the weights they made. Call within :meth:`writing`."""
        self._write(items)
        self.ran_of.update((item.kind, item.component) for item in items)

    def note(self, item: Item) -> None:
        """Book an item of the core's own, as :meth:`book` but not counted in :attr:`ran`. Call within
        :meth:`writing`."""
        self._write([item])

    def _write(self, items: Sequence[Item]) -> None:
        for item in items:
            self._db.execute(
                f"INSERT OR REPLACE INTO items VALUES ({', '.join('?' * (len(COLUMNS) + 1))})", to_row(item)
            )
            self._files.write(self._db, item)
            for weights in (item.weights or "").split(","):
                if weights:
                    self.refer(weights, +1)

    def adopt(self, digests: Sequence[str], there: Callable[[str], bool]) -> None:
        """Take references for a call that is about to use finished items of another row, or of an earlier call.

        An item whose weights are gone (released by the row that made them) is deleted, so that it is made again.
        ``there`` tells whether the weights of a digest still exist.
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
        """Record that a row of the run used these items. Call within :meth:`writing`."""
        self._db.executemany(
            "INSERT OR IGNORE INTO touched VALUES (?, ?, ?, ?)", [(scope, d, phase, stage) for d in digests]
        )

    def bring_costs(self, digests: Sequence[str]) -> None:
        """Book the costs of items that only an earlier run has; the items themselves are not taken over."""
        there: set[str] = set()
        for start in range(0, len(digests), 500):
            part = list(digests[start : start + 500])
            there |= {d for (d,) in self._rows(f"SELECT digest FROM items WHERE digest IN ({_marks(part)})", part)}
        missing = [digest for digest in digests if digest not in there]
        if self.earlier and missing:
            found = self.earlier.costs(missing)
            with self.writing():
                self._write(found)

    def costs(self, scope: str) -> dict[tuple[str, str], dict[str, float]]:
        """(stage, phase) -> summed costs of everything the row used, whichever row of the run made it first."""
        sums: dict[tuple[str, str], dict[str, float]] = {}
        rows = self._rows(
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
        """(kind, component, digest) of the call recorded at this position, or None."""
        rows = self._rows(
            "SELECT kind, component, digest FROM calls WHERE scope = ? AND position = ?", (scope, position)
        )
        return tuple(rows[0]) if rows else None

    def add_call(self, scope: str, position: int, kind: str, component: str, digest: str) -> None:
        with self.writing():
            self._db.execute("INSERT INTO calls VALUES (?, ?, ?, ?, ?)", (scope, position, kind, component, digest))

    def forget_calls(self, scope: str, position: int) -> None:
        """Delete the recorded calls from this position on, so that the loop may continue differently."""
        with self.writing():
            self._db.execute("DELETE FROM calls WHERE scope = ? AND position >= ?", (scope, position))

    # --- references to weights, scratch values, facts about the run ---

    def refer(self, weights: str, by: int) -> int:
        """Change the number of references to weights by ``by``; returns the new number. Call within :meth:`writing`."""
        self._db.execute(
            "INSERT INTO refs VALUES (?, ?) ON CONFLICT (digest) DO UPDATE SET count = max(0, count + ?)",
            (weights, max(0, by), by),
        )
        return int(self._db.execute("SELECT count FROM refs WHERE digest = ?", (weights,)).fetchone()[0])

    def keep(self, scope: str, name: str, value: Any) -> None:
        values = (scope, name, text(value))
        with self.writing():
            self._db.execute("INSERT OR REPLACE INTO kept VALUES (?, ?, ?, ?)", (*values, seal(values)))

    def kept(self, scope: str, name: str) -> Any:
        """The value kept under a name; None where there is none. Raises :class:`Damaged`."""
        return self._sealed("SELECT scope, name, value, seal FROM kept WHERE scope = ? AND name = ?", scope, name)

    def set_fact(self, key: str, value: Any) -> None:
        values = (key, text(value))
        with self.writing():
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?, ?)", (*values, seal(values)))

    def fact(self, key: str) -> Any:
        """The fact about the run under a key; None where there is none. Raises :class:`Damaged`."""
        return self._sealed("SELECT key, value, seal FROM meta WHERE key = ?", key)

    def _sealed(self, query: str, *names: str) -> Any:
        rows = self._rows(query, names)
        if not rows:
            return None
        *values, sealed = rows[0]
        if not is_sealed(values, sealed):
            raise Damaged(self.path, f"the entry {names[-1]!r}")
        return json.loads(values[-1])

    # --- repair, and starting over ---

    def referred(self) -> set[str]:
        """Digests of the weights that must be on disk."""
        return {str(digest) for (digest,) in self._rows("SELECT digest FROM refs WHERE count > 0")}

    def drop_damaged(self, weights: Collection[str] = ()) -> None:
        """Delete damaged rows, and the items whose weights are among ``weights``."""
        with self.writing():
            for row in self._rows("SELECT rowid, * FROM items"):
                row_id, *rest = row
                needs = set(str(rest[COLUMNS.index("weights")] or "").split(","))
                if not is_sealed(rest[:-1], rest[-1]) or needs & set(weights):
                    self._db.execute("DELETE FROM items WHERE rowid = ?", (row_id,))
            for table in ("kept", "meta"):
                for row_id, *values, sealed in self._rows(f"SELECT rowid, * FROM {table}"):
                    if not is_sealed(values, sealed):
                        self._db.execute(f"DELETE FROM {table} WHERE rowid = ?", (row_id,))
            # Other references stay: one too many only keeps weights on disk, one too few would lose them.
            self._db.executemany("DELETE FROM refs WHERE digest = ?", [(digest,) for digest in weights])

    def begin_anew(self) -> None:
        """Delete everything that was computed on this machine; paid answers stay, as they do not depend on it."""
        with self.writing():
            self._db.execute("DELETE FROM items WHERE json_extract(cost, '$.usd') IS NULL")
            for table in ("calls", "touched", "refs", "kept", "meta"):
                self._db.execute(f"DELETE FROM {table}")


def _marks(values: Sequence[str]) -> str:
    return ",".join("?" * len(values))


def connect(path: Path, how: str = "") -> sqlite3.Connection:
    """Open the database. Text that is not UTF-8 is decoded with replacements, so that its checksum exposes it."""
    where = f"{path.resolve().as_uri()}?{how}" if how else str(path)
    database = sqlite3.connect(where, uri=bool(how), isolation_level=None, timeout=30, check_same_thread=False)
    database.text_factory = lambda raw: raw.decode("utf-8", "replace")
    return database


def open_read_only(run: Path) -> sqlite3.Connection:
    """Open a run's journal for reading; another process may be writing it."""
    path = run / "journal.sqlite"
    # Without a write-ahead log nobody is writing, and reading need not create any file beside the journal.
    return connect(path, "mode=ro" if path.with_name("journal.sqlite-wal").exists() else "immutable=1")


def check_format(database: sqlite3.Connection, path: Path) -> None:
    """Refuse a journal of another format.

    Raises:
        UsageError: the journal has a newer or an older format.
    """
    [(version,)] = database.execute("PRAGMA user_version").fetchall()
    if version == 0 and not database.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall():
        return
    if version > FORMAT:
        raise UsageError(
            f"{path} has format {version}, and this harness knows formats up to {FORMAT}; upgrade selfadapt-harness"
        )
    if version < FORMAT:
        raise UsageError(
            f"{path} has format {version or 1}, which an older harness wrote; resume it with that version, or run it "
            "again"
        )


def _broken(path: Path, error: sqlite3.Error) -> RunError:
    return RunError(
        f"{path} is damaged, or not a journal ({error}); restore a copy of it, or run again: --reuse auto takes over "
        "what other runs have"
    )
