"""Errors that a user sees as one line, each kind with its exit code, and the search for the nearest valid name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from harness.api import HarnessError


class UsageError(HarnessError):
    """The user gave a wrong name, key, path or value."""

    exit_code: ClassVar[int] = 2


class PluginError(HarnessError):
    """A plugin cannot be loaded, or failed while in use; the message names plugin, distribution and place."""

    exit_code: ClassVar[int] = 3


class RunError(HarnessError):
    """The run could not go on; everything booked so far is safe, and ``harness resume`` continues it."""

    exit_code: ClassVar[int] = 4


class Parked(RunError):
    """The run waits for a remote batch, which may take a day; nothing failed, and ``harness resume`` looks again."""

    exit_code: ClassVar[int] = 6


class ReplayMismatch(RunError):
    """A resumed run made a call that differs from the recorded one."""


class Damaged(RunError):
    """Something stored in a run's folder is no longer what was written there.

    Args:
        path: the damaged file or folder.
        part: the damaged part of it, such as an item of the journal; "" for the whole.
        run: the run's folder; by default the parent of ``path``.
    """

    def __init__(self, path: Path, part: str = "", run: Path | None = None) -> None:
        run = run or path.parent
        super().__init__(
            f"{path}: {part + ' ' if part else ''}is not what was written there; `harness verify {run}` lists all "
            f"that is damaged, `harness resume {run} --recompute` makes it again"
        )


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error line: `` Did you mean 'seal'?``, or a list of the known names; "" where there are none."""
    names = sorted(set(known))
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return " Did you mean " + " or ".join(repr(item) for item in close) + "?"
    if not names:
        return ""
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f" There are: {shown}."
