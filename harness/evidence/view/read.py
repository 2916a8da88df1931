"""A run's folder as it is shown: its result file, and the lines that it keeps beside it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from harness.api import HEADLINE
from harness.books.folder import refuse_links
from harness.errors import UsageError
from harness.evidence.result import ResultFile, Row
from harness.evidence.sources import open_file
from harness.reading import conform, read_json, read_json_lines, user_path

JSON = Mapping[str, Any]


class _Loose(BaseModel):
    model_config = ConfigDict(extra="allow")


class _Query(_Loose):
    id: str
    text: str


class _Item(_Loose):
    episode: str
    context: Any = None
    queries: list[_Query]
    references: dict[str, list[str]] = Field(default_factory=dict)


class _Score(_Loose):
    method: str
    seed: int
    episode: str
    query: str
    sample: int
    value: float | None
    status: str
    answer: str | None = None
    reason: str | None = None
    step: int | None = None
    contains: float | None = None


class _Edits(_Loose):
    class Edit(_Loose):
        id: str
        data: list[dict[str, Any]] = Field(default_factory=list)
        settings: dict[str, Any] = Field(default_factory=dict)
        status: str = "ok"
        reason: str = ""

    episode: str
    texts: list[list[str]]
    edits: list[Edit]


class _Reward(_Loose):
    value: float | None
    measures: dict[str, Any] = Field(default_factory=dict)


class _Candidate(_Loose):
    edit: str
    episode: str
    status: str = "ok"
    text: str = ""
    reason: str = ""
    rewards: dict[str, _Reward] = Field(default_factory=dict)


class _Ended(_Loose):
    job: str
    edits: list[Any]
    log: dict[str, Any] = Field(default_factory=dict)


class _Diagnosis(_Loose):
    name: str
    right: int
    compared: int


class _Round(_Loose):
    kind: Literal["round"]
    round: int | None
    chosen: bool
    validation: float | None
    metrics: dict[str, Any]
    candidates: list[_Candidate]
    updates: list[_Ended]
    diagnoses: list[_Diagnosis]


class _Learnt(_Loose):
    edit: str
    episode: str
    settings: dict[str, Any] = Field(default_factory=dict)
    sequences: list[tuple[str, str, float]] = Field(default_factory=list)
    count: int = 0


class _Update(_Loose):
    kind: Literal["update"]
    job: str
    start_as: str
    settings: dict[str, Any]
    log: dict[str, Any]
    edits: list[_Learnt]


class _Cost(_Loose):
    kind: Literal["cost"]
    stage: str
    phase: str
    seconds: float = 0.0
    usd: float | None = None


_Line = Annotated[_Round | _Update | _Cost, Field(discriminator="kind")]


@dataclass(frozen=True)
class RowFiles:
    """What a row's seeds left in the run's folder, seed by seed."""

    edits: Mapping[int, Sequence[JSON]] = field(default_factory=dict)
    rounds: Mapping[int, Sequence[JSON]] = field(default_factory=dict)
    updates: Mapping[int, Sequence[JSON]] = field(default_factory=dict)
    costs: Mapping[int, Sequence[JSON]] = field(default_factory=dict)


@dataclass(frozen=True)
class RunFiles:
    """One run. What an older version of the harness did not keep is empty."""

    folder: Path
    found: ResultFile
    config: JSON
    items: Mapping[str, Sequence[JSON]]
    """Table -> its episodes, with their queries and references."""
    scores: Mapping[str, Sequence[JSON]]
    """Table -> its scores, one record each."""
    rows: Mapping[str, RowFiles]
    """Method -> what it left."""


def read_run(given: Path) -> RunFiles:
    """A finished run from its folder.

    Raises:
        UsageError: there is no run in the folder, or something in it is damaged.
        Interrupted: the run has not finished.
    """
    folder = user_path(given)
    if not folder.is_dir():
        raise UsageError(f"{given}: no such run's folder; a page is made from the folder, not from a result file")
    refuse_links(folder)
    found = open_file(folder)
    config = read_json(folder / "config.json") if (folder / "config.json").exists() else {}
    tables = [table.name for table in found.tables]
    return RunFiles(
        folder,
        found,
        config if isinstance(config, dict) else {},
        {path.stem: list(_lines(path, _Item)) for path in sorted((folder / "items").glob("*.jsonl"))},
        {name: list(_scores(folder, name)) for name in tables},
        {row.method: _row(folder, row) for row in found.rows},
    )


def _scores(folder: Path, table: str) -> Iterator[JSON]:
    place = folder / "scores" / ("" if table == HEADLINE else table)
    for path in sorted(place.glob("*.jsonl")):
        yield from _lines(path, _Score)


def _row(folder: Path, row: Row) -> RowFiles:
    edits: dict[int, list[JSON]] = {}
    kinds: dict[str, dict[int, list[JSON]]] = defaultdict(dict)
    for seed in row.seeds:
        path = folder / "edits" / f"{row.method}-{seed}.jsonl"
        if path.exists():
            edits[seed] = list(_lines(path, _Edits))
        path = folder / "history" / f"{row.method}-{seed}.jsonl"
        for line in _lines(path, _Line) if path.exists() else ():
            kinds[line["kind"]].setdefault(seed, []).append(line)
    return RowFiles(edits, kinds["round"], kinds["update"], kinds["cost"])


def _lines(path: Path, model: Any) -> Iterator[JSON]:
    """The lines of a file, each with the fields that are shown of it.

    Raises:
        UsageError: one is damaged, with file, line and field.
    """
    for number, line in read_json_lines(path):
        conform(model, line, f"{path}: line {number}")
        yield line
