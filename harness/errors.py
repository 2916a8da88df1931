"""Errors that a user sees as one line, each with its exit code, and the search for the nearest valid name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar

from harness.api import HarnessError


class UsageError(HarnessError):
    """A wrong name, key, path or value in what the user gave."""

    exit_code: ClassVar[int] = 2


class PluginError(HarnessError):
    """A plugin cannot be used, or broke while it was; the message names plugin, distribution and place."""

    exit_code: ClassVar[int] = 3


class RunError(HarnessError):
    """The run could not go on; what is booked is safe and ``harness resume`` continues it."""

    exit_code: ClassVar[int] = 4


class ReplayMismatch(RunError):
    """A resumed run made another call than the recorded one."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of an error line: `` Did you mean 'seal'?``, or the list of what there is."""
    names = sorted(set(known))
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return " Did you mean " + " or ".join(repr(item) for item in close) + "?"
    if not names:
        return ""
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f" There are: {shown}."
