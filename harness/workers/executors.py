"""Where workers run. An executor starts them one by one; everything else is the pool's business."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import ClassVar
from weakref import WeakSet

from harness.errors import UsageError
from harness.workers.nursery import Forked, Nursery
from harness.workers.worker import KEY, prove


class WorkerLost(Exception):
    """A worker died, hangs, or cannot be reached: whatever it was doing may or may not have been done."""


class Remote(ABC):
    """One worker, wherever it is: bytes in, bytes out."""

    @abstractmethod
    def call(self, message: bytes, /) -> bytes:
        """What :class:`harness.workers.worker.Worker` answers to a message; waits for it.

        Raises:
            WorkerLost: no answer will come.
        """

    @abstractmethod
    def end(self) -> None:
        """Stop the worker, whatever it is doing. It may be gone already."""


class Executor(ABC):
    """Starts workers.

    Args:
        places: one for each worker, as ``--devices`` says: ``cpu``, ``cuda``, ``cuda:1``.
        address: ``--address``; "" is the executor's own choice.
        patience: seconds without a sign of life after which a worker counts as hung.
    """

    name: ClassVar[str]

    def __init__(self, places: Sequence[str], address: str = "", patience: float = 600.0) -> None:
        self.places = tuple(places)
        self.address = address
        self.patience = patience

    @abstractmethod
    def start(self, place: str, /) -> Remote:
        """Start a worker there, or again in place of one that was lost.

        Raises:
            WorkerLost: it did not come up.
        """

    def close(self) -> None:  # noqa: B027  (most have nothing to close)
        """Let go of everything; the workers were ended before."""


class Processes(Executor):
    """Processes on this machine. A command that starts the worker elsewhere makes other executors of it.

    Workers on the CPU are forked from a :class:`harness.workers.nursery.Nursery`, of which this process has one for all
    its executors, from the first one's beginning to the last one's end.
    """

    name = "processes"
    start_within: ClassVar[float] = 120.0
    """Seconds that a worker has to call back."""
    _nursery: ClassVar[Nursery | None] = None
    _using: ClassVar[WeakSet[Processes]] = WeakSet()
    """Executors that may ask the nursery."""
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, places: Sequence[str], address: str = "", patience: float = 600.0) -> None:
        super().__init__(places, address, patience)
        # A process that has touched a GPU cannot be forked, and macOS forks none that has used its libraries.
        self._forks = "cpu" in places and sys.platform == "linux" and type(self).command is Processes.command
        if self._forks:
            with self._lock:
                self._using.add(self)
                Processes._nursery = self._nursery or Nursery()

    def close(self) -> None:
        with self._lock:
            self._using.discard(self)
            if not self._using and self._nursery is not None:
                self._nursery.close()
                Processes._nursery = None

    def command(self, place: str, worker: Sequence[str]) -> list[str]:
        """The command that runs the worker's command somewhere: by default here."""
        return list(worker)

    def listen(self) -> str:
        """The address at which workers reach the driver."""
        return "127.0.0.1"

    def start(self, place: str, /) -> Remote:
        key = secrets.token_bytes(32)
        with socket.create_server((self.listen(), 0)) as door:
            door.settimeout(0.2)
            host, port = door.getsockname()[:2]
            process = self._launch(place, f"{host}:{port}", {**os.environ, KEY: key.hex()})
            until = time.monotonic() + self.start_within
            while True:
                try:
                    line = Connection(door.accept()[0].detach())
                    prove(line, key, first=True)
                    return _Process(process, line, self.patience)
                except TimeoutError:
                    pass
                except (OSError, EOFError):
                    continue  # somebody else knocked
                if process.poll() is not None:
                    raise WorkerLost(f"it ended with status {process.returncode} before it called back")
                if time.monotonic() > until:
                    process.kill()
                    raise WorkerLost(f"it did not call back within {self.start_within:.0f} s")

    def _launch(self, place: str, address: str, environment: dict[str, str]) -> subprocess.Popen[bytes] | Forked:
        """A process that calls the address.

        Raises:
            WorkerLost: it cannot be started.
        """
        if not (self._forks and place == "cpu"):
            path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
            worker = [sys.executable, "-m", "harness.workers", address]
            # In a session of its own: Ctrl-C is the driver's, which ends its workers itself.
            return subprocess.Popen(
                self.command(place, worker),
                env={**environment, "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        for _ in range(2):
            with self._lock:
                nursery = Processes._nursery = self._nursery or Nursery()
            try:
                return nursery.fork(address, environment)
            except (OSError, EOFError):  # it was killed, and its children with it
                with self._lock:
                    if self._nursery is nursery:
                        nursery.close()
                        Processes._nursery = None
        raise WorkerLost("the process that workers are forked from ends before it forks one")


class _Process(Remote):
    def __init__(self, process: subprocess.Popen[bytes] | Forked, line: Connection, patience: float) -> None:
        self._process = process
        self._line = line
        self._patience = patience

    def call(self, message: bytes, /) -> bytes:
        try:
            self._line.send_bytes(message)
            worked, since = b"", time.monotonic()
            while True:
                if self._line.poll(1.0):
                    said = self._line.recv_bytes()
                    if said[:1] == b"a":
                        return said[1:]
                    if said != worked:
                        worked, since = said, time.monotonic()
                if time.monotonic() - since > self._patience:
                    raise WorkerLost(f"no sign of work for {self._patience:.0f} s")
        except (OSError, EOFError) as error:
            raise WorkerLost(self._why()) from error

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._line.close()

    def _why(self) -> str:
        try:
            status = self._process.wait(5)
        except subprocess.TimeoutExpired:
            return "its connection broke"
        return f"killed by signal {-status}" if status < 0 else f"it ended with status {status}"


def places(devices: str) -> list[str]:
    """One place for each worker: ``cpu:2`` is two on the CPU, ``cuda:0,1`` one on each of two GPUs, ``cuda:x4`` four on
    whatever GPU the executor gives each.

    Raises:
        UsageError: it says nothing of the kind.
    """
    kind, _, which = devices.partition(":")
    if kind == "cpu" and which.isdecimal() and int(which) > 0:
        return ["cpu"] * int(which)
    if kind == "cuda" and which[:1] == "x" and which[1:].isdecimal() and int(which[1:]) > 0:
        return ["cuda"] * int(which[1:])
    if kind == "cuda" and which and all(part.isdecimal() for part in which.split(",")):
        return [f"cuda:{int(part)}" for part in which.split(",")]
    raise UsageError(f"--devices {devices!r}: write cpu:2 (two workers), cuda:0,1 (these GPUs) or cuda:x4 (four GPUs)")
