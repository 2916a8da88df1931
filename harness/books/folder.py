"""A run's folder: refusing links in it, removing what a kill left behind, and recording digests of the files
written."""

from __future__ import annotations

import hashlib
import os
import shlex
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
"""Prefix of the journal's facts about files: ``file/`` and the path in the run's folder -> the content's SHA-256."""


def refuse_links(folder: Path) -> None:
    """Refuse a run's folder with symbolic links: it may come from anyone, and writes to it must not land elsewhere.

    Raises:
        UsageError: one of the run's own entries is a symbolic link.
    """
    found = next(links(folder), None)
    if found is not None:
        raise UsageError(
            f"{found} is a symbolic link, which a run's folder may not contain; replace it with what it points to"
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
    """Remove what killed processes left half-written. Only the holder of the run's lock may call this."""
    for partial in folder.glob("weights/.*.partial"):
        shutil.rmtree(partial, ignore_errors=True)
    for pattern in (".*.json.*", *(f"{place}/.*.jsonl.*" for place in ("edits", "scores", "history", "items"))):
        for partial in folder.glob(pattern):
            partial.unlink(missing_ok=True)


def write_recorded(journal: Journal, folder: Path, name: str, text: str) -> None:
    """Write a text file of the run atomically, and its digest into the journal."""
    (folder / name).parent.mkdir(exist_ok=True, parents=True)
    text = writable(text)
    write_text(folder / name, text)
    journal.set_fact(FILE + name, sha256(text.encode()))


def has_lost_its_journal(folder: Path, known: object) -> bool:
    """Whether a run's journal does not know the run's configuration (``known`` is None) although work was done.

    The configuration is written before its digest is noted: after a kill in between there are only files.
    """
    return known is None and any(found.is_dir() for found in folder.iterdir())


def goes_on(folder: Path) -> str:
    """The command that continues a run, as it can be pasted into a shell."""
    return f"harness resume {shlex.quote(str(folder))}"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
