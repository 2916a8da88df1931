"""The log format ``seal``: the reader for ``harness replay seal`` and for every command that takes a log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.evidence.recorded import Recorded
from harness.evidence.result import ResultFile
from harness.judges.base import Judge
from harness_replay import retention
from harness_replay.figures import Graded, grade, summary
from harness_replay.logs import read_log
from harness_replay.questions import load_json


def read(path: Path, judge: Judge | None = None, questions: Path | None = None) -> ResultFile:
    """A published log as a result file. Raises ``UsageError`` if it has no question rows."""
    if retention.is_retention(load_json(path)):
        raise UsageError(f"{path}: a retention matrix holds no question rows; `harness replay seal` prints its figures")
    return grade(read_log(path, questions), judge).result


def replay(
    path: Path, judge: Judge | None = None, questions: Path | None = None
) -> tuple[dict[str, Any], Graded | None]:
    """The figures of one file as a JSON object, and the graded log unless the file is a retention matrix."""
    if retention.is_retention(load_json(path)):
        return retention.summary(retention.read_retention(path)), None
    graded = grade(read_log(path, questions), judge)
    return summary(graded), graded


def pooled(paths: list[Path]) -> dict[str, Any]:
    """The figures of several retention matrices as one."""
    runs = [retention.read_retention(path) for path in paths]
    return retention.summary(retention.pool(runs), runs)


def recorded(path: Path) -> list[Recorded]:
    """Every verdict on an answer that a log records, with and without the update; none if it has no answers."""
    if retention.is_retention(load_json(path)):
        return []
    log = read_log(path)
    if log.layout == "abstraction":
        return []
    return [
        Recorded(asked.title, asked.question, asked.gold, mark.text, mark.correct, arm)
        for side, arm in ((log.adapter, log.name), (log.baseline, f"{log.name} (no update)"))
        for repetition in side or ()
        for asked, cell in zip(log.asked, repetition, strict=True)
        for mark in cell
    ]
