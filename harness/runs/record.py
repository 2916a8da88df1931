"""A run's ``config.json``: what the user gave, what that resolved to, and the name of the run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from harness.books.folder import FILE, has_lost_its_journal, sha256, write_recorded
from harness.books.journal import Journal
from harness.errors import Damaged, UsageError, nearest
from harness.reading import conform, read_json, user_path
from harness.runs import trust
from harness.runs.config import Config

NAME = "config.json"


class _Protocol(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    use: str


class _Arm(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    plugin: str
    protocol: _Protocol
    roles: dict[str, str | dict[str, Any]]


class _Resolved(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    method: str
    seed: int
    task: Annotated[dict[str, Any], Field(min_length=1)]
    model: Annotated[dict[str, Any], Field(min_length=1)]
    arms: Annotated[dict[str, _Arm], Field(min_length=1)]


class _Record(BaseModel):
    model_config = ConfigDict(strict=True)

    run: str = ""
    given: dict[str, Any]
    plugin_files: list[str]
    layers: list[str]
    resolved: _Resolved
    signature: str = ""
    command: str = ""


def make(
    run: str, given: Mapping[str, Any], files: Sequence[Path], layers: Sequence[str], config: Config, command: str
) -> Any:
    """The record of a new run.

    Args:
        run: the run's name on every leaderboard, even if its folder is renamed.
        command: the command that makes such a run again, for its result file.
    """
    return trust.signed({
        "run": run, "given": dict(given), "plugin_files": [str(Path(file).resolve()) for file in files],
        "layers": list(layers), "resolved": config.as_json(), "command": command,
    })  # fmt: skip


def write(journal: Journal, folder: Path, record: Mapping[str, Any]) -> None:
    """Write the record, whole or not at all."""
    write_recorded(journal, folder, NAME, json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def read(folder: Path) -> dict[str, Any]:
    """The record of the run in a folder.

    Raises:
        UsageError: there is no run, or its record is damaged.
    """
    path = user_path(folder) / NAME
    if not path.exists():
        raise UsageError(f"no run at {folder}: there is no {path}.{_beside(folder)}")
    again = f"; run its command again, with --reuse {folder}"
    try:
        record: dict[str, Any] = read_json(path)
        conform(_Record, record, f"{path}: is damaged, or of another version of the harness")
    except UsageError as error:
        raise UsageError(f"{error}{again}") from None
    return record


def check(journal: Journal, folder: Path) -> None:
    """Check that the record is the one that was written.

    Raises:
        Damaged: it was changed since, or the journal that knew it was emptied or removed.
    """
    path = folder / NAME
    known = journal.fact(FILE + NAME)
    if has_lost_its_journal(folder, known):  # to begin again silently could pay for everything twice
        raise Damaged(journal.path)
    now = sha256(path.read_bytes())
    if known is None:
        journal.set_fact(FILE + NAME, now)
    elif known != now:
        raise Damaged(path)


def _beside(run: Path) -> str:
    """A hint with the nearest name among the runs in the same folder."""
    folder = run.parent
    names = [found.parent.name for found in folder.glob(f"*/{NAME}")] if not run.exists() and folder.is_dir() else []
    return nearest(run.name, names)
