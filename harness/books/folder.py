"""A run's folder: whose its entries are, what a kill left in it, and the digests of the files that it writes."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import UsageError
from harness.files import write_text
from harness.text import writable

if TYPE_CHECKING:
    from harness.books.journal import Journal

_OWN = frozenset({"lock", "journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm", "config.json", "result.json",
                  "weights", "edits", "scores", "history", "items"})  # fmt: skip
FILE = "file/"
"""Facts of the journal of this prefix: a file's path in the run's folder -> the SHA-256 of what was written."""


def refuse_links(folder: Path) -> None:
    """A run's folder may have come from anyone: what is written in it must not land elsewhere.

    Raises:
        UsageError: something of the run's own in its folder is a symbolic link.
    """
    found = next(links(folder), None)
    if found is not None:
        raise UsageError(
            f"{found} is a symbolic link, and a run's folder holds its own files; replace it with what it points to"
        )


def links(folder: Path) -> Iterator[Path]:
    """The symbolic links among the run's own entries."""
    for entry in sorted(_OWN):
        path = folder / entry
        if path.is_symlink():
            yield path
        elif path.is_dir():
            yield from _links_below(path)


def _links_below(folder: Path) -> Iterator[Path]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_symlink():
                yield Path(entry.path)
            elif entry.is_dir():
                yield from _links_below(Path(entry.path))


def sweep(folder: Path) -> None:
    """Remove what killed processes left half-written; only for who holds the run's lock."""
    for partial in folder.glob("weights/.*.partial"):
        shutil.rmtree(partial, ignore_errors=True)
    for pattern in (".*.json.*", *(f"{place}/.*.jsonl.*" for place in ("edits", "scores", "history", "items"))):
        for partial in folder.glob(pattern):
            partial.unlink(missing_ok=True)


def write_recorded(journal: Journal, folder: Path, name: str, text: str) -> None:
    """Write a text file of the run whole or not at all, and its digest into the journal."""
    (folder / name).parent.mkdir(exist_ok=True, parents=True)
    text = writable(text)
    write_text(folder / name, text)
    journal.set_fact(FILE + name, sha256(text.encode()))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
