"""Workers as actors of a Ray cluster (extra ``ray``): its own on this machine, or one that runs already.

Ray places them; the pool does the rest. So actors are never restarted and calls never retried by Ray itself, and
nothing is kept in its object store: the base is read by every worker from its own files, adapters go with the packs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, ClassVar

import ray
from ray.exceptions import GetTimeoutError, RayError

from harness.errors import RunError
from harness.workers.executors import Executor, Remote, WorkerLost


class _Actor:
    """A worker in Ray's hands. While it computes, ``worked`` answers beside it."""

    def __init__(self, path: Sequence[str]) -> None:
        sys.path[:] = list(dict.fromkeys([*sys.path, *path]))
        from harness.workers.worker import Worker

        self._worker = Worker()

    def call(self, message: bytes) -> bytes:
        return self._worker(message)

    def worked(self) -> float:
        return time.process_time() - time.thread_time()


class RayActors(Executor):
    """Actors of a Ray cluster, with one CPU each, or one GPU where the place is on one."""

    name = "ray"
    start_within: ClassVar[float] = 300.0
    """Seconds that Ray has to place a worker and start it."""

    def __init__(self, places: Sequence[str], address: str = "", patience: float = 600.0) -> None:
        super().__init__(places, address, patience)
        self._mine = not ray.is_initialized()
        if self._mine:
            try:
                ray.init(address=address or "local", log_to_driver=False, include_dashboard=False)
            except (RayError, ConnectionError, ValueError) as error:
                raise RunError(f"executor ray: no cluster at {address or 'local'!r}: {error}") from error

    def start(self, place: str, /) -> Remote:
        options: dict[str, Any] = {"num_cpus": 1, "max_restarts": 0, "max_task_retries": 0, "max_concurrency": 2}
        if place.startswith("cuda"):
            options["num_gpus"] = 1
        try:
            actor = ray.remote(**options)(_Actor).remote([entry for entry in sys.path if entry])
            ray.get(actor.worked.remote(), timeout=self.start_within)
        except GetTimeoutError:
            ray.kill(actor)
            raise WorkerLost(f"ray had no room for it within {self.start_within:.0f} s") from None
        except RayError as error:
            raise WorkerLost(_line(error)) from error
        return _Ray(actor, self.patience)

    def close(self) -> None:
        if self._mine:
            ray.shutdown()


class _Ray(Remote):
    def __init__(self, actor: Any, patience: float) -> None:
        self._actor = actor
        self._patience = patience

    def call(self, message: bytes, /) -> bytes:
        answer = self._actor.call.remote(message)
        worked, since = -1.0, time.monotonic()
        while True:
            try:
                return bytes(ray.get(answer, timeout=5.0))
            except GetTimeoutError:
                pass
            except RayError as error:
                raise WorkerLost(_line(error)) from error
            try:
                now = float(ray.get(self._actor.worked.remote(), timeout=5.0))
            except RayError:
                now = worked
            if now != worked:
                worked, since = now, time.monotonic()
            elif time.monotonic() - since > self._patience:
                raise WorkerLost(f"no sign of work for {self._patience:.0f} s")

    def end(self) -> None:
        with suppress(RayError, ValueError):  # gone already, or its cluster is
            ray.kill(self._actor)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
