"""The command's process watches a child that does the work, so that no code can end it as if it had succeeded.

A plugin may call ``os._exit(0)``, replace the program with another (``os.exec``), or load a library that does. Nothing
in the same process can notice that; so the work is done in a child, which reports when it came to its proper end.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

_DONE = b"."
_PASSED_ON = (signal.SIGTERM, signal.SIGHUP)
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of Linux' prctl


def supervised(work: Callable[[], int]) -> int:
    """Run ``work`` in a forked process and return its exit code; if it ends silently, print one line and return 3.

    Call this before anything starts threads. Where there is no fork, ``work`` runs in this process.
    """
    if not hasattr(os, "fork"):
        return work()
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _end_with_parent()
        code = work()
        # Output is flushed before the end is reported, so that a broken pipe is still an error.
        sys.stdout.flush()
        os.write(writing, _DONE)
        sys.exit(code)
    os.close(writing)
    code = _wait(child)
    reported = os.read(reading, 1)
    if reported == _DONE or code != 0:
        return code
    print(
        "harness: the process ended before the command did, without an error: code that it ran called os._exit or "
        "replaced the program. Finished work is safe; without the plugin at fault, `harness resume RUN` continues",
        file=sys.stderr,
    )
    return 3


def _wait(child: int) -> int:
    """The child's exit code. Signals that only this process received are passed on."""

    def pass_on(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, number)

    before: dict[signal.Signals, Any] = {number: signal.signal(number, pass_on) for number in _PASSED_ON}
    before[signal.SIGINT] = signal.signal(signal.SIGINT, signal.SIG_IGN if _at_a_terminal() else pass_on)
    try:
        _, status = os.waitpid(child, 0)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def _at_a_terminal() -> bool:
    """Whether the terminal sends Ctrl-C to both processes; passing it on would then interrupt the child twice."""
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def _end_with_parent() -> None:
    """On Linux, end when the watching process is killed: nobody would read the result."""
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)
