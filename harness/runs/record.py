"""``config.json``, which every run's folder holds: what was given, what it resolved to, and where it came from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from harness.errors import UsageError, nearest
from harness.reading import conform, read_json, user_path

NAME = "config.json"


class _Arm(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    plugin: str
    grouping: str
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

    given: dict[str, Any]
    plugin_files: list[str]
    layers: list[str]
    resolved: _Resolved


@dataclass(frozen=True)
class RunRecord:
    """The configuration of a run, as its folder keeps it."""

    given: dict[str, Any]
    plugin_files: tuple[Path, ...]
    layers: tuple[str, ...]
    resolved: dict[str, Any]
    """:meth:`harness.runs.config.Config.as_json`: ``method``, ``seed``, ``task``, ``model`` and ``arms`` are there."""


def read_record(run: Path) -> RunRecord:
    """The record of a run.

    Raises:
        UsageError: there is no run in the folder, or its record is damaged, with the field.
    """
    path = user_path(run) / NAME
    if not path.exists():
        raise UsageError(f"no run at {run}: there is no {path}.{_beside(run)}")
    value = read_json(path)
    conform(_Record, value, f"{path}: is damaged")
    return RunRecord(
        value["given"], tuple(Path(file) for file in value["plugin_files"]), tuple(value["layers"]), value["resolved"]
    )


def _beside(run: Path) -> str:
    """The nearest run in the folder where one was looked for."""
    folder = run.parent
    names = [found.parent.name for found in folder.glob(f"*/{NAME}")] if not run.exists() and folder.is_dir() else []
    return nearest(run.name, names)
