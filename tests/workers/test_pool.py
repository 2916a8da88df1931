"""Workers come and go, and a run has the same results: real processes, killed, stopped and broken in the middle."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from harness.api import Example, SelfEdit, TrialJob, UpdateJob
from harness.errors import RunError, UsageError
from harness.workers.executors import Processes, places
from harness.workers.pool import can_cross
from tests.workers.conftest import Open, Opened
from tests.workers.made_up import Elsewhere, MadeUp, MadeUpSettings, NoHome

PROMPTS = [f"prompt {i}" for i in range(22)]


def with_fault(fault: str) -> list[str]:
    return [*PROMPTS[:9], f"once {fault}", *PROMPTS[9:]]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("die", "was lost: killed by signal 9; its pack goes to the next"),
        ("hang", "was lost: no sign of work for 6 s"),
        ("break", "its model broke: RuntimeError: CUDA error"),
        ("reduce", "ran out of memory; another one computes the pack again"),
    ],
)
def test_a_fault_of_one_worker_is_one_line(opened: Open, fault: str, said: str) -> None:
    alone = opened("alone", workers=0)
    pooled = opened("pooled", executor=Processes(["cpu", "cpu"], patience=6.0))
    assert pooled.answers(with_fault(fault)) == alone.answers(with_fault(fault))
    [line] = pooled.said
    assert said in line
    assert pooled.session.journal.ran == 23, "nothing lost, nothing doubled"
    costs = pooled.session.journal.costs("scripted/0")["outer", "loop"]
    assert costs["calls"] == 23
    assert "reduced" not in costs


def test_what_the_model_refuses_is_no_fault_of_its_worker(opened: Open) -> None:
    pooled = opened("pooled", workers=1)
    with pytest.raises(RunError, match="the model has had enough"):
        pooled.answers(with_fault("refuse"))
    assert pooled.said == []
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


def test_any_number_of_workers_gives_the_same(opened: Open) -> None:
    alone = opened("alone", workers=0)
    wanted = results(alone)
    for workers in (1, 3):
        pooled = opened(f"of {workers}", workers=workers)
        assert results(pooled) == wanted
        assert pooled.session.journal.ran_of == alone.session.journal.ran_of
        assert pooled.session.context.weights.held() == alone.session.context.weights.held()
        assert pooled.said == []


def test_a_worker_unlike_the_others_is_refused(opened: Open) -> None:
    pooled = opened("pooled", model=Elsewhere)
    with pytest.raises(UsageError, match=r"made-up:another.*two such workers are not mixed"):
        pooled.answers(PROMPTS)


def test_a_model_that_no_worker_can_hold_is_said_at_once(opened: Open) -> None:
    with pytest.raises(RunError, match="no worker comes up: OSError: no such device"):
        opened("pooled", workers=1, model=NoHome)


def test_a_worker_with_other_weights_than_the_driver_is_refused(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "opened").write_text("x")
    with pytest.raises(UsageError, match="a worker has the model made-up:another and the driver made-up:made-up"):
        opened("pooled", workers=1, model=Elsewhere)


def test_a_failing_call_leaves_nobody_waiting(opened: Open) -> None:
    """The first error of a call ends it: packs that are under way are left, and the next call goes through."""
    pooled = opened("pooled", settings=MadeUpSettings(opened_folder(opened), pause=0.1))
    with pytest.raises(RunError, match="had enough"):
        pooled.answers(with_fault("refuse"))
    assert len(pooled.answers(PROMPTS)) == 22


def opened_folder(opened: Open) -> str:
    one = opened("folder", workers=0)
    return str(one.session.context.folder)


def test_packs_are_under_way_side_by_side(opened: Open) -> None:
    """Two workers that sleep take half as long as one: nothing in the driver holds a pack back."""
    pooled = opened("pooled", settings=MadeUpSettings(pause=0.5))
    pooled.answers(["warm", "up", "both", "of", "them", "now"])
    began = time.monotonic()
    pooled.answers([f"p{i}" for i in range(32)])
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


def test_a_driver_unlike_its_workers_computes_nothing(opened: Open) -> None:
    """What stays with the driver would be of another device or precision than the rest of the run."""
    pooled = opened("pooled", workers=1)
    model = pooled.session.context.models["made-up:made-up"]
    model.identity = {"device": "cuda", "dtype": "bfloat16"}
    with pytest.raises(UsageError, match="start the run on a machine like theirs"):
        model.borrow(pooled.session.roles["student"])


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


def test_an_interrupt_ends_the_call(opened: Open) -> None:
    """Ctrl-C while workers compute: the call ends at once, and what was booked stays."""
    pooled = opened("pooled", settings=MadeUpSettings(pause=1.0))
    pooled.answers(["warm"])
    before = signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    try:
        signal.setitimer(signal.ITIMER_REAL, 1.5)
        with pytest.raises(KeyboardInterrupt):
            pooled.answers([f"p{i}" for i in range(64)])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert 1 <= pooled.session.journal.ran < 64
