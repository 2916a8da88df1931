"""The files that the items of a journal were made from, in two tables of their own: many items share few sets of
files."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence

from harness import reads
from harness.books.item import Item
from harness.books.records import digest

SCHEMA = """
CREATE TABLE IF NOT EXISTS file_sets (name TEXT PRIMARY KEY, files TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS made_from (item TEXT PRIMARY KEY, files TEXT NOT NULL) WITHOUT ROWID;
"""


class Dependencies:
    """The files of one journal's items. Each set is compared with the disk once, when it is first needed."""

    def __init__(self) -> None:
        self._changed: dict[str, list[str]] = {}

    def write(self, database: sqlite3.Connection, item: Item) -> None:
        """Record the files that an item was made from, replacing an earlier record. Call within a transaction."""
        if not item.files:
            database.execute("DELETE FROM made_from WHERE item = ?", (item.digest,))
            return
        name = digest(dict(item.files))
        # This process has just read these files, so it takes them as unchanged for the rest of its life.
        self._changed.setdefault(name, [])
        text = json.dumps(dict(item.files), ensure_ascii=False, sort_keys=True)
        database.execute("INSERT OR IGNORE INTO file_sets VALUES (?, ?)", (name, text))
        database.execute("INSERT OR REPLACE INTO made_from VALUES (?, ?)", (item.digest, name))

    def of(self, database: sqlite3.Connection, items: Sequence[str]) -> dict[str, Mapping[str, str]]:
        """Item -> path -> digest, for those of the items that were made from files."""
        sets: dict[str, Mapping[str, str]] = {}
        out = {}
        for item, name, files in database.execute(
            "SELECT m.item, m.files, s.files FROM made_from m JOIN file_sets s ON s.name = m.files"
            f" WHERE m.item IN ({','.join('?' * len(items))})",
            list(items),
        ):
            if name not in sets:
                sets[name] = _files(name, files)
            out[item] = sets[name]
        return out

    def changed(self, files: Mapping[str, str]) -> list[str]:
        """The paths whose content has changed since."""
        if not files:
            return []
        name = digest(dict(files))
        if name not in self._changed:
            self._changed[name] = reads.changed(files)
        return self._changed[name]


def unsettled(files: Mapping[str, str], changed: Iterable[str]) -> bool:
    """Whether one of the changed files had already changed while the item was being made."""
    return any(files[path] == reads.UNKNOWN for path in changed)


def _files(name: str, text: str) -> Mapping[str, str]:
    """The set of files of that name; a damaged record becomes a set that matches no file."""
    try:
        files: Mapping[str, str] = json.loads(text)
        if digest(files) == name:
            return files
    except ValueError:
        pass
    return {"(a damaged record of files)": "damaged"}
