"""The command's own process watches the one that works, so that no code can end it as if all were well.

A plugin may call ``os._exit(0)``, replace the program by another (``os.exec``), or load a library that does. Nothing in
the same process can answer that; so the work is done in a child, which says when it came to its own end.
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
    """Run ``work`` in a forked process and answer its exit code; a silent end of it is 3 and one line.

    Call before anything starts threads. Where there is no fork, ``work`` runs here.
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
        # What was printed is out before the end is said: a broken pipe is then still an error.
        sys.stdout.flush()
        os.write(writing, _DONE)
        sys.exit(code)
    os.close(writing)
    code = _wait(child)
    said = os.read(reading, 1)
    if said == _DONE or code != 0:
        return code
    print(
        "harness: the process ended before the command did, without an error: code that it ran called os._exit or "
        "replaced the program. What was booked is safe; without the plugin at fault, `harness resume RUN` goes on",
        file=sys.stderr,
    )
    return 3


def _wait(child: int) -> int:
    """The child's exit code. Signals that only this process got are passed on."""

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
    """Whether Ctrl-C is typed at us: the terminal sends it to both processes, and twice would be once too often."""
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


def _end_with_parent() -> None:
    """On Linux, end when the watching process is killed: nobody would read what comes of it."""
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL)
