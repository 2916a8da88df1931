"""Workers come and go, and a run has the same results: real processes, killed, stopped and broken in the middle."""

from __future__ import annotations

import inspect
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.api import Example, Model, SelfEdit, TrialJob, UpdateJob
from harness.errors import RunError, UsageError
from harness.workers.executors import Processes, Remote, places
from harness.workers.model import PooledModel
from harness.workers.packs import Broken, Facts, Opening, dumps, loads
from harness.workers.pool import can_cross
from harness.workers.worker import Worker
from tests.workers.conftest import Open, Opened, Shared
from tests.workers.made_up import Elsewhere, MadeUp, MadeUpSettings, NoHome

PROMPTS = [f"prompt {i}" for i in range(22)]


def with_fault(*faults: str) -> list[str]:
    """The prompts, with packs among them in which a fault happens once."""
    prompts = list(PROMPTS)
    for place, fault in enumerate(faults):
        prompts.insert(2 + 5 * place, f"once {fault}")
    return prompts


def test_every_fault_of_a_worker_is_one_line_and_changes_nothing(opened: Open) -> None:
    """Killed, stopped, with a broken engine, out of memory: nothing lost, nothing doubled, the same answers."""
    prompts = with_fault("die", "hang", "break", "reduce")
    pooled = opened("pooled", executor=Processes(["cpu", "cpu"], patience=6.0))
    assert pooled.answers(prompts) == opened("alone", workers=0).answers(prompts)
    for line in (
        "was lost: killed by signal 9; its pack goes to the next",
        "was lost: no sign of work for 6 s; its pack goes to the next",
        "was lost: its model broke: RuntimeError: CUDA error: device-side assert triggered; its pack goes to the next",
        "ran out of memory; another one computes the pack again",
    ):
        assert sum(line in said for said in pooled.said) == 1
    assert len(pooled.said) == 4
    assert pooled.session.journal.ran == len(prompts)
    costs = pooled.session.journal.costs("scripted/0")["outer", "loop"]
    assert costs["calls"] == len(prompts)
    assert "reduced" not in costs


def test_what_the_model_refuses_is_no_fault_of_its_worker(opened: Open, shared: Shared) -> None:
    """The error ends the call and leaves nobody waiting: the same call goes through when it is made again."""
    pooled = opened("pooled", shared=shared)
    with pytest.raises(RunError, match="the model has had enough"):
        pooled.answers(with_fault("refuse"))
    assert shared.said == []
    assert pooled.answers(with_fault("refuse")) == opened("alone", workers=0).answers(with_fault("refuse"))


def updates(one: Opened, count: int) -> list[UpdateJob]:
    [cats, *_] = one.session.episodes("train")
    edit = SelfEdit("e", cats.id, (Example("", "cats purr"),))
    return [UpdateJob(f"job{i}", one.session.roles["student"], (edit,), i) for i in range(count)]


def results(one: Opened) -> object:
    """Updates, trials and answers under what was learnt, as anything that a method does with them."""
    s = one.session
    cats, dogs = s.episodes("train")
    states = [updated.state for updated in s.update("updater", updates(one, 10))]
    assert all(states)
    further = [UpdateJob(f"then{i}", state, updates(one, 1)[0].edits, i) for i, state in enumerate(states) if state]
    stacked = [updated.state for updated in s.update("updater", further)]
    trials = s.trial([TrialJob(job, (cats, dogs)) for job in updates(one, 18)[6:]])
    return states, stacked, trials


def test_any_number_of_workers_gives_the_same(opened: Open, shared: Shared) -> None:
    alone = opened("alone", workers=0)
    wanted = results(alone)
    for pooled in (opened("of 2", shared=shared), opened("of 3", workers=3)):
        assert results(pooled) == wanted
        assert pooled.session.journal.ran_of == alone.session.journal.ran_of
        assert pooled.session.context.weights.held() == alone.session.context.weights.held()
        assert pooled.said == []


def test_a_worker_unlike_the_others_is_refused(opened: Open) -> None:
    pooled = opened("pooled", model=Elsewhere)
    with pytest.raises(UsageError, match=r"made-up:another.*two such workers are not mixed"):
        # The first one goes to work while the second one starts.
        [pooled.answers([f"slow {i}"]) for i in range(20)]


def test_a_model_that_no_worker_can_hold_is_said_at_once(opened: Open) -> None:
    with pytest.raises(RunError, match="no worker comes up: OSError: no such device"):
        opened("pooled", workers=1, model=NoHome)


def test_a_worker_with_other_weights_than_the_driver_is_refused(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "opened").write_text("x")
    with pytest.raises(UsageError, match="a worker has the model made-up:another and the driver made-up:made-up"):
        opened("pooled", workers=1, model=Elsewhere)


def test_packs_are_under_way_side_by_side(opened: Open, shared: Shared) -> None:
    """Two workers that sleep take half as long as one: nothing in the driver holds a pack back."""
    pooled = opened("pooled", shared=shared)
    pooled.answers(PROMPTS)
    began = time.monotonic()
    pooled.answers([f"slow {i}" for i in range(32)])
    assert time.monotonic() - began < 8 * 0.5 - 0.7
    seconds = pooled.session.journal.costs("scripted/0")["outer", "loop"]["seconds"]
    assert seconds > 8 * 0.5, "what is booked is what the workers spent, not how long the driver waited"


def test_a_worker_ends_with_its_driver(opened: Open) -> None:
    pooled = opened("pooled", workers=1)
    assert pooled.pool is not None
    [remote] = pooled.pool._remotes.values()
    process = remote._process  # type: ignore[attr-defined]
    remote._line.close()  # type: ignore[attr-defined]  # as when the driver is killed
    assert process.wait(10) is not None


def test_a_driver_unlike_its_workers_computes_nothing(opened: Open, shared: Shared) -> None:
    """What stays with the driver would be of another device or precision than the rest of the run."""
    pooled = opened("pooled", shared=shared)
    model = pooled.session.context.models["made-up:made-up"]
    model.identity = {"device": "cuda", "dtype": "bfloat16"}
    with pytest.raises(UsageError, match="start the run on a machine like theirs"):
        model.borrow(pooled.session.roles["student"])


def test_every_call_of_a_model_is_answered_by_workers_or_handed_to_the_drivers_own() -> None:
    """One that the pooled model forgot would be answered by the contract's default: another result than without
    workers."""
    calls = {name for name, one in vars(Model).items() if inspect.isfunction(one)}
    assert calls - vars(PooledModel).keys() == set()


class Damaging(Processes):
    """A worker in this process, whose first answers on the way are damaged; the opening's is the very first."""

    def __init__(self, damages: list[Callable[[bytes], bytes]]) -> None:
        super().__init__(["cpu"])
        self.damages = damages

    def start(self, place: str, /) -> Remote:
        return _Line(Worker(), self.damages)


class _Line(Remote):
    def __init__(self, worker: Worker, damages: list[Callable[[bytes], bytes]]) -> None:
        self._worker, self._damages = worker, damages

    def call(self, message: bytes, /) -> bytes:
        answer = self._worker(message)
        return self._damages.pop(0)(answer) if self._damages else answer

    def end(self) -> None: ...


def _flipped(at: int) -> Callable[[bytes], bytes]:
    def damage(answer: bytes) -> bytes:
        data = bytearray(answer)
        data[at] ^= 1
        return bytes(data)

    return damage


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "the first byte": _flipped(0),
    "a byte of the answer": _flipped(-9),
    "cut off": lambda answer: answer[:-3],
    "empty": lambda answer: b"",
    "something else": lambda answer: dumps("hello"),
    "a list": lambda answer: dumps([1]),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_answer_is_a_lost_worker_and_never_a_result(opened: Open, what: str) -> None:
    executor = Damaging([bytes, DAMAGES[what], DAMAGES[what]])
    pooled = opened("pooled", executor=executor)
    assert pooled.answers(PROMPTS) == opened("alone", workers=0).answers(PROMPTS)
    assert not executor.damages
    assert sum("was lost: it" in said for said in pooled.said) >= 1


def test_a_damaged_question_is_a_lost_worker_too(opened: Open) -> None:
    worker = Worker()
    found = loads(worker(dumps(Opening(MadeUp, MadeUpSettings(""), "cpu"))))
    assert isinstance(found, Facts)
    broken = loads(worker(_flipped(-1)(dumps(Opening(MadeUp, MadeUpSettings(""), "cpu")))))
    assert isinstance(broken, Broken)
    assert "is not what was sent" in broken.reason


def test_devices_are_places() -> None:
    assert places("cpu:2") == ["cpu", "cpu"]
    assert places("cuda:0,3") == ["cuda:0", "cuda:3"]
    assert places("cuda:x2") == ["cuda", "cuda"]
    for bad in ("cpu", "cpu:0", "cuda", "tpu:1", "cuda:a", "cpu:-1"):
        with pytest.raises(UsageError, match="write cpu:2"):
            places(bad)


def test_what_cannot_cross_is_named(opened: Open) -> None:
    class Inner(MadeUp):
        pass

    assert can_cross(MadeUp(MadeUpSettings(), None)) == ""  # type: ignore[arg-type]
    assert "cannot import" in can_cross(Inner(MadeUpSettings(), None))  # type: ignore[arg-type]


def test_an_interrupt_ends_the_call(opened: Open, shared: Shared) -> None:
    """Ctrl-C while workers compute: the call ends at once, and what was booked stays."""
    pooled = opened("pooled", shared=shared)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 1.5)
        with pytest.raises(KeyboardInterrupt):
            pooled.answers([f"slow {i}" for i in range(64)])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert 1 <= pooled.session.journal.ran < 64
