"""A run's ``config.json``: what the user gave, what it resolved to, and the name by which the run is known."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.books.folder import FILE, sha256, write_recorded
from harness.books.journal import Journal
from harness.errors import Damaged, UsageError
from harness.runs import trust
from harness.runs.config import Config

NAME = "config.json"


def make(run: str, given: Mapping[str, Any], files: Sequence[Path], layers: Sequence[str], config: Config) -> Any:
    """The record of a new run.

    Args:
        run: what the run is called on every board, whatever becomes of its folder.
    """
    return trust.signed({
        "run": run, "given": dict(given), "plugin_files": [str(Path(file).resolve()) for file in files],
        "layers": list(layers), "resolved": config.as_json(),
    })  # fmt: skip


def write(journal: Journal, folder: Path, record: Mapping[str, Any]) -> None:
    """Write it whole or not at all."""
    write_recorded(journal, folder, NAME, json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def read(folder: Path) -> dict[str, Any]:
    """The record of the run in a folder.

    Raises:
        UsageError: there is no run, or its record is damaged.
    """
    path = folder / NAME
    try:
        record: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UsageError(f"no run at {folder}: there is no {path}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} is damaged ({error}); run its command again, with --reuse {folder}") from None
    kinds = {"given": dict, "plugin_files": list, "layers": list, "resolved": dict}
    for key, kind in kinds.items():
        if not isinstance(record, dict) or not isinstance(record.get(key), kind):
            raise UsageError(f"{path} is damaged, or of another version of the harness: {key} is not there")
    return record


def check(journal: Journal, folder: Path) -> None:
    """Hold the record against what was written.

    Raises:
        Damaged: it is another one.
    """
    path = folder / NAME
    known = journal.fact(FILE + NAME)
    if known is not None and known != sha256(path.read_bytes()):
        raise Damaged(path)
