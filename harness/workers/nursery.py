"""A process that has imported what workers need, and forks one whenever it is asked: what takes seconds is done once.

It imports and computes nothing, so it has one thread and has touched no GPU when it forks, and each of its children is
as a process that imported the same by itself. The children end with the nursery, and the nursery with the driver.
"""

from __future__ import annotations

import ctypes
import gc
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

_DIE_WITH_PARENT = 1
"""Linux: the option of ``prctl`` that names the signal which a process gets when the one that made it ends."""


class Nursery:
    """The driver's end.

    Raises:
        OSError: no process can be started.
    """

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
            self._process = subprocess.Popen(
                [sys.executable, "-m", "harness.workers", f"nursery:{theirs.fileno()}"],
                env={**os.environ, "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._line = Connection(ours.detach())
        self._lock = threading.Lock()

    def fork(self, address: str, environment: dict[str, str]) -> Forked:
        """A child that calls ``address``, as the command ``python -m harness.workers ADDRESS`` would in this
        environment and folder, and with this module path.

        Raises:
            OSError, EOFError: the nursery is gone.
        """
        return Forked(self, self.ask("fork", address, environment, os.getcwd(), sys.path))

    def ask(self, *what: Any) -> Any:
        """Have the nursery do something, and wait until it is done."""
        with self._lock:
            self._line.send(what)
            return self._line.recv()

    def poll(self) -> int | None:
        """Its status if it has ended."""
        return self._process.poll()

    def close(self) -> None:
        """End it, with all of its children."""
        self._process.kill()
        self._process.wait()
        with self._lock:
            self._line.close()


class Forked:
    """A child of the nursery, as :class:`subprocess.Popen` is a child of this process."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self._nursery = nursery
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its status if it has ended: minus the signal that killed it, as in :mod:`subprocess`."""
        if self.returncode is None:
            try:
                self.returncode = self._nursery.ask("poll", self.pid)
            except (OSError, EOFError):
                self.returncode = -signal.SIGKILL  # it ended with its nursery
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended.

        Raises:
            subprocess.TimeoutExpired: it has not.
        """
        until = time.monotonic() + timeout if timeout is not None else None
        while (status := self.poll()) is None:
            if until is not None and time.monotonic() > until:
                raise subprocess.TimeoutExpired("a forked worker", timeout or 0.0)
            time.sleep(0.02)
        return status

    def kill(self) -> None:
        """End it, whatever it is doing."""
        with suppress(OSError, EOFError):
            self._nursery.ask("kill", self.pid)


def serve_forks(descriptor: int, work: Callable[[str], None]) -> None:
    """The nursery's end: import, and do what is asked until the driver hangs up.

    Args:
        descriptor: of the socket to the driver.
        work: what a child does with the address that it was given.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel  # noqa: F401

    import harness.books.artefacts  # noqa: F401

    gc.freeze()  # nothing of it is ever garbage, so no child has to look through it
    line, children = Connection(descriptor), dict[int, int | None]()
    while True:
        try:
            what, *about = line.recv()
        except (EOFError, OSError, pickle.UnpicklingError):
            return
        if what == "fork":
            pid = os.fork()
            if pid == 0:
                _be_born(line, *about[1:])
                work(about[0])
                os._exit(0)
            children[pid] = None
            line.send(pid)
            continue
        pid = about[0]
        if children[pid] is None:
            if what == "kill":
                os.kill(pid, signal.SIGKILL)
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                children[pid] = os.waitstatus_to_exitcode(status)
        line.send(children[pid])


def _be_born(line: Connection, environment: dict[str, str], folder: str, path: list[str]) -> None:
    """Leave the nursery: what a new process would have of its own."""
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    line.close()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.path[:] = path
