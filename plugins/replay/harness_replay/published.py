"""Published tables as result files: the printed figures, and the question rows behind them if there is a log."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from harness.evidence.leaderboard.summary import tables
from harness.evidence.result import (
    SCHEMA,
    Card,
    ModelCard,
    Reported,
    ResultFile,
    Row,
    TaskItems,
    make_row,
    single_table,
)
from harness_replay.figures import PAPER, Graded, grade
from harness_replay.logs import read_log
from harness_replay.questions import LogError

PRINTED = 0.0005 + 1e-9
"""How far a recomputed fraction may be from the printed one: tables print three decimals."""


def result_files(data: Path) -> list[ResultFile]:
    """Every published table, with the question rows from the logs under ``data``.

    Raises:
        LogError: a log is missing, or does not reproduce the printed figure.
    """
    listed = tomllib.loads(resources.files("harness_replay").joinpath("published.toml").read_text(encoding="utf-8"))
    return [_table(table, data) for table in listed["table"]]


def _table(table: Mapping[str, Any], data: Path) -> ResultFile:
    graded = {row["log"]: grade(read_log(data / row["log"])) for row in table["row"] if "log" in row}
    items = next((one.result.task.items for one in graded.values()), ())
    task = TaskItems(
        table["task"], table["version"], "test", "GPT-4.1's verdict" if table["task"] == "squad" else "tasks solved",
        items, table["average"],
    )  # fmt: skip
    rows = tuple(_row(row, table, task, graded) for row in table["row"])
    return ResultFile(
        SCHEMA,
        table["id"],
        "published",
        table["source"],
        ModelCard(table["row"][0]["base"]),
        {"printed": True},
        single_table(task, rows),
    )


def _row(row: Mapping[str, Any], table: Mapping[str, Any], task: TaskItems, graded: Mapping[str, Graded]) -> Row:
    scores: list[Any] = []
    letters: list[str] = []
    if "log" in row:
        scores, letters = _scores(row, table, task, graded[row["log"]])
        _check_conditions(row, table, graded[row["log"]])
    made = make_row(
        scores=scores,
        status=letters,
        queries=task.queries,
        method=row["method"],
        plugin="replay",
        card=Card(
            open_book=row.get("open_book", False), outside_teacher=row.get("outside_teacher", False), paper=PAPER
        ),
        protocol=table["protocol"],
        editor_model=row.get("editor", ""),
        start_model=row["start"],
        conditions={
            "task": task.name,
            "version": task.version,
            "base_model": row["base"],
            "start_model": row["start"],
            **_conditions(row, table),
            "open_book": row.get("open_book", False),
        },
        seeds=(0,) if scores else (),
        notes=tuple(row.get("notes", ())),
        reported=Reported(row["score"] / 100, table["contexts"], table["queries"], table["source"]),
    )
    if scores:
        _agree(made, task, row, table)
    return made


def _conditions(row: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, str | None]:
    """How the table's rows were decoded and asked; None if neither paper nor log says."""
    return {name: row.get(name, table.get(name)) for name in ("decoding", "prompt")}


def _check_conditions(row: Mapping[str, Any], table: Mapping[str, Any], one: Graded) -> None:
    """Raise ``LogError`` if the table states conditions for a row that its log contradicts."""
    found = one.log.conditions
    stated = {"base_model": row["base"], **_conditions(row, table)}
    for name, value in stated.items():
        recorded = getattr(found, name)
        if recorded != value:
            raise LogError(
                f"{row['log']}: {name} is {recorded or 'not recorded'}, not {value!r} as {table['id']} has it"
            )


def _scores(
    row: Mapping[str, Any], table: Mapping[str, Any], task: TaskItems, one: Graded
) -> tuple[list[Any], list[str]]:
    found = one.baseline if row.get("side") == "baseline" else one.adapter
    if found is None:
        raise LogError(f"{row['log']}: holds no rows for {row['method']!r} of {table['id']}")
    if one.result.task.items != task.items:
        raise LogError(f"{row['log']}: asks other questions than the other rows of {table['id']}")
    return [list(values) for values in found.scores], list(found.status)


def _agree(made: Row, task: TaskItems, row: Mapping[str, Any], table: Mapping[str, Any]) -> None:
    mean = tables(task, made).mean
    if abs(mean - row["score"] / 100) > PRINTED:
        raise LogError(
            f"{row['log']}: gives {100 * mean:.2f} for {row['method']!r} of {table['id']}, not {row['score']}"
        )
