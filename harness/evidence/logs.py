"""Formats of published logs, which packages bring through the entry-point group ``harness.logs``.

Each is a module with ``read(path, judge, questions) -> ResultFile`` and ``recorded(path) -> list[Recorded]``; both
raise ``UsageError`` for a file that is not in their format, and then the next format is tried.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import UsageError
from harness.evidence.recorded import Recorded, Verdicts, distinct

if TYPE_CHECKING:
    from harness.evidence.result import ResultFile
    from harness.judges.base import Judge

GROUP = "harness.logs"


def read(path: Path, judge: Judge | None = None, questions: Path | None = None) -> ResultFile:
    """A published log as a result file, graded anew by ``judge`` where one is given."""
    found: ResultFile = _ask("read", path, judge, questions)
    return found


def recorded(path: Path) -> list[Recorded]:
    """The verdicts of one log, in its order; none where it holds no question rows."""
    found: list[Recorded] = _ask("recorded", path)
    return found


def read_verdicts(paths: Iterable[Path]) -> Verdicts:
    """The verdicts recorded in published logs. Raises ``UsageError`` where there are none."""
    return verdicts_of([one for path in paths for one in recorded(path)])


def verdicts_of(records: Sequence[Recorded]) -> Verdicts:
    """One verdict per triple. Raises ``UsageError`` where there are none."""
    found = distinct(records)
    if not found.kept:
        raise UsageError("no recorded verdicts in these files: nothing to compare a judge with")
    return found


def _ask(what: str, path: Path, *more: Any) -> Any:
    """What the first format that takes the file answers. Raises the first format's error where none does."""
    refused: UsageError | None = None
    for entry in sorted(metadata.entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            return getattr(entry.load(), what)(path, *more)
        except UsageError as error:
            refused = refused or error
    raise refused or UsageError(f"{path}: no format of published logs is installed (entry points {GROUP!r})")
