"""The worker: holds one model and answers messages. It has no journal, no task, no references, and keeps no results.

:mod:`harness.workers.__main__` is the command that runs one.
"""

from __future__ import annotations

import dataclasses
import hmac
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from harness.api import HarnessError, Model
from harness.errors import PluginError, RunError, UsageError
from harness.workers.packs import Broken, Done, Facts, Opening, Pack, Work, dumps, loads

KEY = "HARNESS_WORKER_KEY"
BEAT = 0.5
"""Seconds between two signs of life."""
_KEPT = 4 << 30
"""Bytes of weights that a worker holds on to between packs."""


class Weights:
    """The weights that the driver sent and the worker made: :class:`harness.api.WeightSource` of its model."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Any] = OrderedDict()

    def adapter(self, digest: str, /) -> Any:
        if digest not in self._kept:
            raise RunError(f"weights {digest[:12]} were not sent with the pack that needs them")
        self._kept.move_to_end(digest)
        return self._kept[digest]

    def folder(self, digest: str, /) -> Path:
        raise RunError("a worker holds weights in memory; a model that reads them from files cannot be a worker's")

    def hold(self, weights: Iterable[tuple[str, Any]]) -> None:
        for digest, one in weights:
            self._kept[digest] = one
            self._kept.move_to_end(digest)

    def drop(self) -> tuple[str, ...]:
        """Give up what was used longest ago, down to the limit; answers what went."""
        gone = []
        while len(self._kept) > 1 and sum(int(getattr(one, "nbytes", 0)) for one in self._kept.values()) > _KEPT:
            gone.append(self._kept.popitem(last=False)[0])
        return tuple(gone)


class Worker:
    """Answers messages: :class:`Opening` first, with :class:`Facts`, then :class:`Work`, each with :class:`Done`.

    What the model refuses (:class:`harness.api.HarnessError`) is answered as the exception; what else it raises, as
    :class:`Broken`, after which nothing is to be expected of it.
    """

    def __init__(self) -> None:
        self._weights = Weights()
        self._model: Model

    def __call__(self, message: bytes) -> bytes:
        try:
            asked = loads(message)
            return dumps(self._open(asked) if isinstance(asked, Opening) else self._run(asked))
        except HarnessError as error:
            kind = type(error) if type(error) in (UsageError, PluginError) else RunError
            return dumps(kind(str(error)))
        except Exception as error:  # a broken engine raises anything
            return dumps(Broken(f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"))

    def _open(self, asked: Opening) -> Facts:
        from harness.books.environment import describe_environment

        settings = asked.settings
        if hasattr(settings, "device"):
            settings = dataclasses.replace(settings, device=asked.place)
        self._model = asked.model(settings, self._weights)  # type: ignore[call-arg]  # how models are made
        memory = self._model.memory()
        import torch

        return Facts(
            self._model.base,
            dict(self._model.identity),
            describe_environment(),
            dict(memory) if memory else None,
            torch.get_num_threads(),
        )

    def _run(self, work: Work) -> Done:
        self._weights.hold(work.weights.items())
        began = time.perf_counter()
        results, reduced = _called(self._model, work.pack)
        seconds = time.perf_counter() - began
        if work.pack.op == "train":
            self._weights.hold((one.adapter.digest(), one.adapter) for one in results if one.adapter is not None)
        return Done(results, seconds, reduced, self._weights.drop())


def _called(model: Model, pack: Pack) -> tuple[list[Any], bool]:
    """What the model answers, and whether memory ran out on the way."""
    results = list(getattr(model, pack.op)(pack.items, **pack.options))
    if pack.op == "train":
        lost = any(one.status == "error" and "out of memory" in one.reason for one in results)
        return results, lost or any(one.log.get("reduced") for one in results)
    if pack.op == "generate":
        return results, any(one.cost.get("reduced") for row in results for one in row)
    return results, False


def serve(line: Connection) -> None:
    """Answer the driver until it hangs up, or the model breaks; meanwhile say now and then that one lives."""
    worker, lock = Worker(), threading.Lock()

    def beat() -> None:
        while True:
            time.sleep(BEAT)
            try:
                # The time of this thread itself is no sign that anything is being computed.
                worked = time.process_time() - time.thread_time()
                with lock:
                    line.send_bytes(f"b{worked:.2f}".encode())
            except OSError:
                os._exit(1)  # nobody is there any more, whatever is being computed

    threading.Thread(target=beat, daemon=True).start()
    while True:
        try:
            message = line.recv_bytes()
        except (EOFError, OSError):
            os._exit(0)
        answer = worker(message)
        with lock:
            line.send_bytes(b"a" + answer)
        if isinstance(loads(answer), Broken):
            os._exit(1)


def prove(line: Connection, key: bytes, *, first: bool) -> None:
    """Show each other that both ends have the key.

    Raises:
        PermissionError: the other end has not.
    """

    def heard() -> bytes:
        if not line.poll(10):
            raise PermissionError("the other end says nothing")
        return line.recv_bytes(64)

    for mine in (first, not first):
        if mine:
            nonce = os.urandom(32)
            line.send_bytes(nonce)
            if not hmac.compare_digest(heard(), hmac.digest(key, nonce, "sha256")):
                raise PermissionError("the other end does not have the key")
        else:
            line.send_bytes(hmac.digest(key, heard(), "sha256"))
