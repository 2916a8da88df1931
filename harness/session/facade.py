"""What components are handed: the contract's calls, and nothing behind them.

The calls are closures, so that no attribute leads from a sealed object to the session, the journal, the references, a
test score or the run's folder. Python can still be made to look into closures and frames (``__closure__``, ``gc``), and
a plugin can open any file of its user's: the seal keeps out shortcuts, accidents and casual cheating.
``docs/plugins.md`` says what it cannot keep out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import MappingProxyType
from typing import Any, cast

from harness import reads
from harness.api import (
    JSON,
    LM,
    Ask,
    Completion,
    Data,
    EditAsk,
    Episode,
    Group,
    References,
    Request,
    Score,
    Session,
    Split,
    State,
    Task,
    TrialJob,
    Updated,
    UpdateJob,
)

_OF_THE_RUN = frozenset({"out", "leaderboard", "edits", "reuse"})
"""Settings that components do not see: they name folders of runs."""


def sealed(service: Session, task_reads: reads.Reader) -> Session:
    """:class:`harness.api.Session` of a service, and nothing else of it; what its task reads is noted there."""
    seen_task = sealed_task(service.task, task_reads)
    seen_roles = service.roles
    seen_settings = _read_only({key: value for key, value in service.settings.items() if key not in _OF_THE_RUN})

    class SealedSession:
        """The session of :mod:`harness.api`."""

        __slots__ = ()

        task: Task = seen_task
        roles: MutableMapping[str, State] = seen_roles
        settings: JSON = seen_settings

        def lm(self, who: str | State, /) -> LM:
            return sealed_lm(service.lm(who))

        def generate(self, requests: Sequence[Request], /) -> Sequence[Sequence[Completion]]:
            return service.generate(requests)

        def episodes(self, split: Split, /, limit: int | None = None) -> Sequence[Episode]:
            return service.episodes(split, limit)

        def make(self, episodes: Sequence[Episode], references: Mapping[str, References], /) -> Sequence[Episode]:
            return service.make(episodes, references)

        def propose(self, role: str, asks: Sequence[EditAsk], /) -> Sequence[Group]:
            return service.propose(role, asks)

        def reward(self, groups: Sequence[Group], /, name: str = "reward") -> Sequence[Group]:
            return service.reward(groups, name)

        def update(self, name: str, jobs: Sequence[UpdateJob], /) -> Sequence[Updated]:
            return service.update(name, jobs)

        def trial(self, jobs: Sequence[TrialJob], /, name: str = "evaluator") -> Sequence[Sequence[Score]]:
            return service.trial(jobs, name)

        def evaluate(self, asks: Sequence[Ask], /, name: str = "evaluator") -> Sequence[Sequence[Score]]:
            return service.evaluate(asks, name)

        def expand(self, job: UpdateJob, /) -> Sequence[Data]:
            return service.expand(job)

        def diagnose(self, name: str, labels: Mapping[str, str], /) -> None:
            service.diagnose(name, labels)

        def release(self, states: Sequence[State], /) -> None:
            service.release(states)

        def fit(self, jobs: Sequence[UpdateJob], /, *, loss: str | Any = "sft") -> Iterator[Updated]:
            return service.fit(jobs, loss=loss)

        def borrow(self, state: State, /) -> AbstractContextManager[Any]:
            return _lent(service.borrow(state))

        def store(self, tensors: Mapping[str, Any], config: JSON, /) -> str:
            return service.store(tensors, config)

        def merge(
            self, states: Sequence[State], how: str, /, *, weight: float = 0.0, density: float = 0.5, own: int = 0
        ) -> State:
            return service.merge(states, how, weight=weight, density=density, own=own)

        def seed(self, *name: object) -> int:
            return service.seed(*name)

        def keep(self, name: str, value: JSON | None = None, /) -> JSON | None:
            return service.keep(name, value)

    return SealedSession()


def sealed_lm(lm: LM) -> LM:
    """A model's calls without the model itself, which holds the run's weights and their folder."""
    return cast("LM", _view("SealedLM", lm, ("can", "base"), ("generate", "logprobs", "likelihoods", "hidden")))


def sealed_task(task: Task, reader: reads.Reader) -> Task:
    """A task without :meth:`harness.api.Task.load`: its items come from the session, without references."""
    calls = ("prompt", "expand", "extract", "same")
    values = ("name", "version", "metric", *task.public)
    return cast("Task", _view("SealedTask", task, values, calls, reader))


def _view(
    name: str, target: Any, values: Sequence[str], calls: Sequence[str], reader: reads.Reader | None = None
) -> Any:
    """An object with the named attributes and methods of ``target``, and no others."""
    members: dict[str, Any] = {"__slots__": (), **{value: getattr(target, value) for value in values}}
    for call in calls:
        members[call] = _through(getattr(target, call), reader)
    return type(name, (), members)()


def _through(call: Callable[..., Any], reader: reads.Reader | None) -> Callable[..., Any]:
    def through(self: Any, *arguments: Any, **named: Any) -> Any:
        if reader is None:
            return call(*arguments, **named)
        return reads.call(reader, lambda: call(*arguments, **named))

    return through


@contextmanager
def _lent(borrowed: AbstractContextManager[Any]) -> Iterator[Any]:
    with borrowed as lent:
        yield lent


def _read_only(value: Any) -> Any:
    if isinstance(value, Mapping):
        return MappingProxyType({key: _read_only(item) for key, item in value.items()})
    return tuple(map(_read_only, value)) if isinstance(value, list | tuple) else value
