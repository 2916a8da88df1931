"""The baseline file: a result file under version control, replaced only with a reason, which is kept in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.errors import RunError, UsageError
from harness.evidence.result import ResultFile
from harness.evidence.result_file import read, write

KEPT = "accepted"


class NoBaseline(UsageError):
    """There is no baseline to compare the run with."""

    exit_code = 3


def load(path: Path) -> ResultFile:
    """The baseline. Raises :class:`NoBaseline` where there is none, ``UsageError`` where it is damaged."""
    if not path.exists():
        raise NoBaseline(f"no baseline at {path}; `harness gate --accept --reason ...` makes one of a run")
    return read(path)


def accept(path: Path, run: ResultFile, reason: str) -> ResultFile:
    """Make a complete run the baseline, and add the reason to those of earlier baselines.

    Raises:
        UsageError: no reason was given.
        RunError: the run is incomplete: later runs would be compared with missing scores.
    """
    if not reason.strip():
        raise UsageError("--accept needs --reason: say why the new scores are right")
    if not run.rows or not all(row.complete for row in run.rows):
        raise RunError(f"run {run.run!r} is incomplete and cannot become a baseline; `harness resume` finishes it")
    history: list[Mapping[str, Any]] = []
    replaced = ""
    if path.exists():
        old = load(path)
        history, replaced = list(old.environment.get(KEPT, [])), old.run
    entry = {
        "reason": reason.strip(),
        "run": run.run,
        "replaced": replaced,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }
    accepted = replace(run, environment={**run.environment, KEPT: [*history, entry]})
    write(accepted, path)
    return accepted
