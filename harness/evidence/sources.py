"""What a command takes as a run: a run's folder, a result file or a published log, and a row of it.

``PATH`` names the first row, ``PATH#METHOD`` another one. Rows are those of the headline, unless a table is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import RunError, UsageError, nearest
from harness.evidence import logs
from harness.evidence.result import ResultFile, Row
from harness.evidence.result_file import read
from harness.judges.base import Judge
from harness.reading import read_json, user_path


@dataclass(frozen=True)
class Source:
    """A row, and the file that it is from."""

    label: str
    found: ResultFile
    row: Row


class Interrupted(RunError):
    """A run that has no result file yet."""


def open_source(given: str, judge: Judge | None = None, questions: Path | None = None, table: str = "") -> Source:
    """One row of a run's folder, a result file or a published log.

    Args:
        judge: grades a published log anew; None takes the verdicts recorded in it. Result files keep their scores.
        questions: a file of questions, for a log that holds none.
        table: the table that the row is in; "" for the headline.

    Raises:
        Interrupted: the folder holds a run that did not finish.
        UsageError: there is no such file, row or format.
    """
    name, _, method = given.partition("#")
    found = open_file(Path(name), judge, questions, table)
    if not found.rows:
        raise RunError(f"{name}: no rows: nothing was measured")
    return Source(given, found, _pick(found, method, name))


def _pick(found: ResultFile, method: str, name: str) -> Row:
    if not method:
        return found.rows[0]
    for row in found.rows:
        if row.method == method:
            return row
    if method == "baseline" and found.kind == "published" and len(found.rows) > 1:
        return found.rows[1]
    raise UsageError(f"{name}: no row {method!r}.{nearest(method, [row.method for row in found.rows])}")


def open_file(path: Path, judge: Judge | None = None, questions: Path | None = None, table: str = "") -> ResultFile:
    """The result file behind a path: a run's folder, a result file, or a published log; with ``table`` alone, if given.

    Raises:
        Interrupted: the folder holds a run that did not finish.
        UsageError: there is no such file, table or format.
    """
    found = _open(user_path(path), judge, questions)
    return found.of_table(table) if table else found


def _open(path: Path, judge: Judge | None, questions: Path | None) -> ResultFile:
    if path.is_dir():
        inside = path / "result.json"
        if inside.exists():
            return read(inside)
        if (path / "config.json").exists():
            raise Interrupted(f"{path}: the run was interrupted; `harness resume {path}` finishes it")
        raise UsageError(f"{path}: a folder without a run in it (no result.json)")
    if not path.exists():
        raise UsageError(f"{path}: no such run, result file or log")
    if _is_result(path):
        return read(path)
    return logs.read(path, judge, questions)


def _is_result(path: Path) -> bool:
    """Whether a file declares itself a result file; damaged JSON is left to the reader, which says where it breaks."""
    try:
        raw = read_json(path, repair=False)
    except UsageError:
        with path.open(encoding="utf-8", errors="replace") as stream:
            return '"schema"' in stream.read(200)
    return isinstance(raw, Mapping) and "schema" in raw
