"""The pool: packs in, answers out, whatever becomes of the workers on the way.

One thread for each worker takes packs from a common queue. A pack whose worker is lost is given to another; a worker
that is lost is started again. A pack is pure, so it does not matter whether the lost worker had computed it already:
its answer is counted once, where it is waited for.
"""

from __future__ import annotations

import importlib
import pickle
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from harness.api import HarnessError, Model
from harness.books.environment import describe_environment
from harness.books.world import differences
from harness.errors import PluginError, RunError, UsageError
from harness.workers.executors import Executor, Remote, WorkerLost
from harness.workers.packs import Broken, Done, Facts, Opening, Pack, Work, dumps, loads

_Answer = TypeVar("_Answer", Done, Facts)
_TRIES = 3
"""Workers that a pack may lose, or that may fail to start one after another in one place."""


@dataclass
class _Task:
    pack: Pack
    weights: Mapping[str, Any]
    """All that the pack's states name."""
    answer: Future[Done] = field(default_factory=Future)
    tries: int = 0
    avoid: int = -1
    """A worker whose memory it did not fit."""


class Pool:
    """The workers of one model.

    Args:
        say: tells the user one line.
        opening: the model; its ``place`` is each worker's own.
    """

    def __init__(self, executor: Executor, opening: Opening, say: Callable[[str], None]) -> None:
        self._executor = executor
        self._opening = opening
        self._say = say
        self._changed = threading.Condition()
        self._queue: list[_Task] = []
        self._closed = False
        self._remotes: dict[int, Remote] = {}
        self._living: set[int] = set()
        self._threads: list[threading.Thread] = []
        self._facts: Facts | None = None
        self._unfit: BaseException | None = None
        """Why a worker is refused, and with it the run."""

    @property
    def size(self) -> int:
        """Workers that were asked for."""
        return len(self._executor.places)

    def first(self, base: str) -> Facts:
        """Start the first worker; what it finds of the machine is what all others work under.

        Args:
            base: of the model as the driver has it.

        Raises:
            UsageError: the model cannot be made there, or its machine is another one than the driver's.
            RunError: no worker comes up.
        """
        try:
            self._remotes[0] = self._executor.start(self._executor.places[0])
            facts = self._opened(self._remotes[0], self._executor.places[0])
        except WorkerLost as lost:
            raise RunError(f"executor {self._executor.name}: no worker comes up: {lost}") from None
        differ = differences(_mine(facts, describe_environment()), facts.environment)
        if facts.base != base:
            raise UsageError(f"a worker has the model {facts.base} and the driver {base}: the same files are needed")
        if differ:
            raise UsageError(f"a worker has {'; '.join(differ)}; numbers of two such machines are not mixed in one run")
        self._facts = facts
        return facts

    def start(self, limits: Mapping[str, Any]) -> None:
        """Begin to serve.

        Args:
            limits: ``memory`` and ``threads`` as the run has recorded them, for models that have such settings.
        """
        assert self._facts is not None
        settings = self._opening.settings
        limits = {name: value for name, value in limits.items() if hasattr(settings, name)}
        if limits:
            self._opening = replace(self._opening, settings=replace(settings, **limits))
        found = {"memory": self._facts.memory, "threads": self._facts.threads}
        if any(found[name] != value for name, value in limits.items()):
            self._remotes.pop(0).end()  # it found others
        self._living = set(range(self.size))
        self._threads = [
            threading.Thread(target=self._serve, args=(index,), name=f"worker {index + 1}", daemon=True)
            for index in range(self.size)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, pack: Pack, weights: Mapping[str, Any]) -> Future[Done]:
        """Have a pack computed.

        Args:
            weights: digest -> artefact of all that the pack's states name.
        """
        task = _Task(pack, weights)
        with self._changed:
            if self._unfit is None and self._living:
                self._queue.append(task)
                self._changed.notify_all()
            else:
                task.answer.set_exception(self._unfit or self._deserted())
        return task.answer

    def close(self) -> None:
        """End every worker. Packs that nobody waits for any more are dropped."""
        with self._changed:
            self._closed = True
            self._queue.clear()
            remotes = list(self._remotes.values())
            self._changed.notify_all()
        for remote in remotes:
            remote.end()
        until = time.monotonic() + 5
        for thread in self._threads:  # one that waits for a worker to start may do so for long, and holds nobody up
            thread.join(max(0.0, until - time.monotonic()))
        self._executor.close()

    # --- in the threads of the workers ---

    def _serve(self, index: int) -> None:
        holds: set[str] = set()
        failed = 0
        if index not in self._remotes:
            try:
                self._begin(index)  # before there is work for it, which those that are ready should get
            except WorkerLost:
                pass  # its first pack tries again, and counts
            except BaseException as error:
                self._refuse(error)
                return
        while (task := self._next(index, holds)) is not None:
            try:
                remote = self._remotes.get(index)
                if remote is None:
                    holds.clear()
                    remote = self._begin(index)
                done = self._ask(remote, task, holds)
            except WorkerLost as lost:
                begun = index in self._remotes
                failed = 0 if begun else failed + 1
                self._lose(index, task, str(lost), counts=begun)
                if failed == _TRIES:
                    self._retire(index, str(lost))
                    return
            except BaseException as error:  # the model's refusal, a worker that is not like the others
                task.answer.set_exception(error)
            else:
                failed = 0
                if done.reduced and task.avoid < 0 and len(self._living) > 1:
                    self._say(f"worker {index + 1} ran out of memory; another one computes the pack again")
                    self._again(replace(task, avoid=index))
                else:
                    task.answer.set_result(done)

    def _next(self, index: int, holds: set[str]) -> _Task | None:
        """The next pack for a worker: one whose weights it holds, if there is one."""
        with self._changed:
            while True:
                if self._closed:
                    return None
                fit = [task for task in self._queue if task.avoid != index or len(self._living) == 1]
                if fit:
                    task = next((one for one in fit if one.weights and one.weights.keys() <= holds), fit[0])
                    self._queue.remove(task)
                    return task
                self._changed.wait()

    def _ask(self, remote: Remote, task: _Task, holds: set[str]) -> Done:
        lacking = {digest: one for digest, one in task.weights.items() if digest not in holds}
        try:
            message = dumps(Work(task.pack, lacking))
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            raise PluginError(f"a pack ({task.pack.op}) holds what cannot leave the process: {error}") from error
        answer = _heard(remote.call(message), Done, "its model broke: ")
        holds.update(lacking)
        if task.pack.op == "train":
            holds.update(one.adapter.digest() for one in answer.results if one.adapter is not None)
        holds.difference_update(answer.dropped)
        return answer

    def _begin(self, index: int) -> Remote:
        """A worker in that place, which must be like the first one."""
        place = self._executor.places[index]
        remote = self._executor.start(place)
        try:
            facts = self._opened(remote, place)
            differ = self._unlike(facts)
        except BaseException:
            remote.end()
            raise
        if differ:
            remote.end()
            raise UsageError(f"worker {index + 1} has {differ}; numbers of two such workers are not mixed in one run")
        with self._changed:
            if self._closed:
                remote.end()
                raise WorkerLost("the run is over")
            self._remotes[index] = remote
        return remote

    def _opened(self, remote: Remote, place: str) -> Facts:
        return _heard(remote.call(dumps(replace(self._opening, place=place))), Facts)

    def _unlike(self, facts: Facts) -> str:
        """What of a worker is other than the first one's; "" where nothing is that results depend on."""
        assert self._facts is not None
        differ = differences(self._facts.environment, facts.environment)
        if facts.base != self._facts.base:
            differ.append(f"the weights {facts.base}, the first {self._facts.base}")
        if facts.identity != self._facts.identity:
            differ.append(f"the model as {facts.identity}, the first {self._facts.identity}")
        return "; ".join(differ)

    def _lose(self, index: int, task: _Task, why: str, *, counts: bool) -> None:
        with self._changed:
            if self._closed:
                return
            remote = self._remotes.pop(index, None)
        if remote is not None:
            remote.end()
        tries = task.tries + counts
        if tries == _TRIES:
            task.answer.set_exception(
                RunError(f"a pack of {len(task.pack.items)} ({task.pack.op}) lost {_TRIES} workers, the last so: {why}")
            )
            return
        self._say(f"worker {index + 1} ({self._executor.places[index]}) was lost: {why}; its pack goes to the next")
        self._again(replace(task, tries=tries))

    def _again(self, task: _Task) -> None:
        with self._changed:
            self._queue.insert(0, task)
            self._changed.notify_all()

    def _refuse(self, error: BaseException) -> None:
        """A worker is not like the others, or cannot hold the model: the run goes no further."""
        with self._changed:
            self._unfit = error
            abandoned = list(self._queue)
            self._queue.clear()
        for task in abandoned:
            task.answer.set_exception(error)

    def _retire(self, index: int, why: str) -> None:
        """Nothing comes up in a place any more: the others go on without it."""
        with self._changed:
            self._living.discard(index)
            self._why = why
            abandoned = [] if self._living else list(self._queue)
            if abandoned:
                self._queue.clear()
            self._changed.notify_all()
        self._say(f"worker {index + 1} is given up: {why}; {len(self._living)} go on")
        for task in abandoned:
            task.answer.set_exception(self._deserted())

    def _deserted(self) -> RunError:
        return RunError(f"no worker is left ({self._why}); what is booked is safe, and `harness resume` goes on")

    _why = "none was started"


def _heard(message: bytes, kind: type[_Answer], broke: str = "") -> _Answer:
    """A worker's answer, of the kind that was asked for.

    Raises:
        WorkerLost: its model broke, or what arrived is no such answer.
        HarnessError: what the model refused.
    """
    try:
        answer = loads(message)
    except Exception as error:  # what is no message may raise anything
        raise WorkerLost(f"its answer cannot be read: {type(error).__name__}: {error}") from error
    if isinstance(answer, Broken):
        raise WorkerLost(f"{broke}{answer.reason}")
    if isinstance(answer, HarnessError):
        raise answer
    if not isinstance(answer, kind):
        raise WorkerLost(f"it answered with a {type(answer).__name__}")
    return answer


def _mine(facts: Facts, here: Mapping[str, Any]) -> dict[str, Any]:
    """The driver's environment, as far as a worker's has to agree with it: a GPU's owner need not drive."""
    on_cpu = str(facts.identity.get("device", "cpu")) == "cpu"
    ignored: Sequence[str] = () if on_cpu else ("accelerator", "processor")
    return {**here, **{name: facts.environment.get(name) for name in ignored}}


def can_cross(model: Model) -> str:
    """Why a model cannot be made in a worker; "" where it can."""
    cls = type(model)
    if not model.local:
        return "it is not local"
    if cls.nested:
        return "it is made around other models"
    try:
        found = getattr(importlib.import_module(cls.__module__), cls.__qualname__, None)
    except ImportError:
        found = None
    if found is not cls:
        return f"{cls.__module__} is a file that workers cannot import; install it as a package"
    return ""
