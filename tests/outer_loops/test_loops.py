"""The outer loops in a real session: what the policy is given to learn, and what is checked of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from harness_outer_loops.guarded import Guarded
from harness_outer_loops.loops import DpoLoop, GrpoLoop, PolicyLoop, RlooLoop
from harness_outer_loops.report import RewardReport

from harness.api import (
    EditAsk,
    Editor,
    Group,
    Preference,
    Request,
    Reward,
    RewardFunction,
    Rollout,
    Round,
    SelfEdit,
    Session,
    State,
    Trainer,
    Updated,
    UpdateJob,
    Updater,
)
from harness.errors import RunError, UsageError
from harness.session.service import SessionService
from harness.testing import ScriptedLM, ScriptedTask, TrainerContract, open_session

SPLITS = {
    "train": {f"t{n}": (f"text {n}", {"Q?": ["a"]}) for n in range(3)},
    "validation": {f"v{n}": (f"text {n}", {"Q?": ["a"]}) for n in range(4)},
}


class Writer(Editor):
    """Writes samples 0, 1, 2 ...; sample 3 makes no edit, though it was written."""

    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Sequence[Sequence[SelfEdit]]:
        rows = s.generate([Request(a.state, a.episode.id, n=a.n, temperature=1.0, seed=a.seed) for a in asks])
        return [[self._edit(ask, n, one) for n, one in enumerate(row)] for ask, row in zip(asks, rows, strict=True)]

    def _edit(self, ask: EditAsk, n: int, one: Any) -> SelfEdit:
        edit = SelfEdit(f"{ask.episode.id}/{n}", ask.episode.id, (), actions=(one,))
        return replace(edit, status="failed", reason="not JSON") if n == 3 else edit


class Given(RewardFunction):
    """Rewards by sample index, or by round and sample index."""

    def __init__(self, *values: float | None) -> None:
        self.values = values

    def score(self, groups: Sequence[Group], s: Session, /) -> Sequence[Sequence[Reward]]:
        def of(value: float | None) -> Reward:
            return Reward(value, "ok" if value is not None else "error")

        return [[of(self.values[int(edit.id[-1])]) for edit in group.edits] for group in groups]


class Policy(Updater):
    """Keeps its jobs, and counts them in the state's memory; ``still`` leaves the state as it is."""

    accepts = frozenset({Rollout, Preference})
    continues = True

    def __init__(self, *, still: bool = False, status: str = "ok") -> None:
        self.jobs: list[UpdateJob] = []
        self.still, self.status = still, status

    def apply(self, jobs: Sequence[UpdateJob], s: Session, /) -> Iterator[Updated]:
        for job in jobs:
            self.jobs.append(job)
            if self.status != "ok":
                yield Updated(job.id, None, self.status, "so it was told")  # type: ignore[arg-type]
                continue
            rounds = int(job.start.memory.get("rounds", 0)) + (not self.still)
            state = replace(job.start, memory={"rounds": rounds} if rounds else {})
            yield Updated(job.id, state, log={"steps": 1, "loss": 0.5})

    def data(self, job: int = 0) -> list[Any]:
        return [data for edit in self.jobs[job].edits for data in edit.data]


class Words(ScriptedLM):
    """A word costs 2 nats at the start, and half a nat less after every round: a divergence that is known."""

    def logprobs(self, asks: Sequence[tuple[State, Any, str]], /) -> list[list[float]]:
        return [[-2.0 + 0.5 * int(state.memory.get("rounds", 0))] * len(text.split()) for state, _, text in asks]


def opened(folder: Path, reward: RewardFunction, policy: Policy | None = None, **slots: Any) -> SessionService:
    parts: dict[str, tuple[str, Any]] = {
        "editor": ("editor", Writer()),
        "reward": ("reward", reward),
        "policy": ("updater", policy or Policy()),
        **slots,
    }
    model = Words(lambda request, n: " ".join(["word"] * (n + 1)))
    return open_session(folder, ScriptedTask(SPLITS), {"teacher": model}, parts)


def run(loop: type[PolicyLoop], s: SessionService, **settings: Any) -> list[Round]:
    return list(loop(loop.Settings(**{"rounds": 1, "contexts": 1, "samples": 3, **settings})).run(s))


def advantages(policy: Policy, job: int = 0) -> list[float]:
    return [data.advantage for data in policy.data(job)]


def test_grpo_learns_from_every_edit_by_its_distance_from_the_mean(tmp_path: Path) -> None:
    policy = Policy()
    [done] = run(GrpoLoop, opened(tmp_path, Given(0.0, 0.5, 1.0), policy))
    assert [type(data) for data in policy.data()] == [Rollout] * 3
    assert advantages(policy) == pytest.approx([-0.5, 0.0, 0.5])
    assert {data.group for data in policy.data()} == {"t0"}
    assert all(data.action.tokens and data.action.logprobs for data in policy.data())
    assert (done.metrics["learnt"], done.metrics["tied_contexts"], done.metrics["policy_steps"]) == (3, 0, 1)


def test_rloo_takes_the_others_as_its_baseline(tmp_path: Path) -> None:
    policy = Policy()
    run(RlooLoop, opened(tmp_path, Given(0.0, 0.5, 1.0), policy))
    assert advantages(policy) == pytest.approx([-0.75, 0.0, 0.75])


def test_an_unscored_edit_is_in_no_baseline_and_is_not_learnt(tmp_path: Path) -> None:
    policy = Policy()
    run(GrpoLoop, opened(tmp_path, Given(0.0, None, 1.0), policy))
    assert advantages(policy) == pytest.approx([-0.5, 0.5])


def test_a_failed_edit_is_learnt_from_too(tmp_path: Path) -> None:
    """It was written, and it is worth nothing: the policy is to write such ones less often."""
    policy = Policy()
    run(GrpoLoop, opened(tmp_path, Given(1.0, 1.0, 1.0, 0.0), policy), samples=4)
    assert advantages(policy) == pytest.approx([0.25, 0.25, 0.25, -0.75])
    assert {edit.status for edit in policy.jobs[0].edits} == {"ok"}


def test_where_all_contexts_are_tied_nothing_is_updated(tmp_path: Path) -> None:
    for loop in (GrpoLoop, RlooLoop, DpoLoop):
        policy = Policy()
        s = opened(tmp_path / loop.name, Given(0.5, 0.5, 0.5), policy)
        [done] = run(loop, s)
        assert policy.jobs == []
        assert done.metrics["note"] == "nothing to learn: no context's candidates differ in their rewards"
        assert done.roles["teacher"].memory == {}


def test_dpo_prefers_the_best_to_the_worst(tmp_path: Path) -> None:
    policy = Policy()
    run(DpoLoop, opened(tmp_path, Given(0.5, 1.0, 0.0, 0.2), policy), samples=4, contexts=2)
    assert policy.data() == [Preference(f"t{n}", "word word", "word word word") for n in range(2)]


def test_dpo_never_prefers_a_failed_edit(tmp_path: Path) -> None:
    policy = Policy()
    run(DpoLoop, opened(tmp_path, Given(0.5, 0.5, 0.5, 0.9), policy), samples=4)
    assert policy.jobs == []


def test_rounds_go_on_from_each_other_with_the_next_contexts(tmp_path: Path) -> None:
    policy = Policy()
    done = run(GrpoLoop, opened(tmp_path, Given(0.0, 0.5, 1.0), policy), rounds=2, contexts=2)
    assert [[edit.episode for edit in job.edits][::3] for job in policy.jobs] == [["t0", "t1"], ["t2", "t0"]]
    assert policy.jobs[1].start == done[0].roles["teacher"]
    assert [one.roles["teacher"].memory["rounds"] for one in done] == [1, 2]


def test_the_divergence_from_the_loops_start_is_taken_off_the_reward(tmp_path: Path) -> None:
    policy = Policy()
    run(GrpoLoop, opened(tmp_path, Given(0.5, 0.5, 0.8), policy), rounds=2, kl=0.1)
    assert advantages(policy, 0) == pytest.approx([-0.1, -0.1, 0.2])  # at the start there is none
    # Half a nat per word: 0.05, 0.10 and 0.15 off.
    assert advantages(policy, 1) == pytest.approx([-0.05, -0.1, 0.15])


def test_an_update_that_trains_nothing_is_found_out(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="grpo, round 0: the update left the policy's weights as they were, to the bit"):
        run(GrpoLoop, opened(tmp_path, Given(0.0, 0.5, 1.0), Policy(still=True)))


def test_an_update_that_fails_or_is_lost(tmp_path: Path) -> None:
    [done] = run(GrpoLoop, opened(tmp_path / "f", Given(0.0, 0.5, 1.0), Policy(status="failed")))
    assert done.metrics["note"] == "the update of the policy failed, it stays as it was: so it was told"
    with pytest.raises(RunError, match="grpo, round 0: the update of the policy was lost: so it was told"):
        run(GrpoLoop, opened(tmp_path / "e", Given(0.0, 0.5, 1.0), Policy(status="error")))


def test_without_training_contexts_it_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPLITS, "train", {})
    with pytest.raises(UsageError, match="trainer 'dpo' needs training contexts"):
        run(DpoLoop, opened(tmp_path, Given(0.0, 1.0, 0.0)))


# --- the guard ------------------------------------------------------------------------------------------------------


class Course(Trainer):
    """Rounds of which the training reward and the held-out reward are written down."""

    rounds = 4

    def __init__(self, train: Sequence[float], held_out: Sequence[float], reward: Given) -> None:
        self.train, self.held_out, self.reward = train, held_out, reward

    def run(self, s: Session, /) -> Iterator[Round]:
        for index, (mean, held) in enumerate(zip(self.train, self.held_out, strict=True)):
            self.reward.values = (held,)
            s.roles["teacher"] = replace(s.roles["teacher"], memory={"rounds": index + 1})
            yield Round(index, dict(s.roles), {"reward_mean": mean})


def guarded(folder: Path, train: Sequence[float], held_out: Sequence[float], **settings: Any) -> list[Round]:
    reward = Given(0.3)
    s = opened(folder, reward)
    return list(Guarded(Guarded.Settings(**settings), Course(train, held_out, reward)).run(s))


def test_a_loop_that_gets_better_is_only_watched(tmp_path: Path) -> None:
    done = guarded(tmp_path, [0.3, 0.4, 0.5], [0.3, 0.35, 0.45])
    assert [one.metrics["held_out"] for one in done] == pytest.approx([0.3, 0.35, 0.45])
    assert done[0].metrics["start"] == {"kl": 0.0, "entropy": 2.0, "length": 1.0, "held_out": 0.3}
    assert [one.metrics["kl"] for one in done] == pytest.approx([0.5, 1.0, 1.5])
    assert [one.metrics["entropy"] for one in done] == pytest.approx([1.5, 1.0, 0.5])
    assert not any("note" in one.metrics for one in done)


def test_a_reward_that_parts_from_validation_stops_the_loop(tmp_path: Path) -> None:
    done = guarded(tmp_path, [0.3, 0.4, 0.5], [0.35, 0.1, 0.9])
    assert len(done) == 2
    assert done[1].metrics["note"] == (
        "stopped after round 2: the reward of held-out contexts fell from 0.350 to 0.100 while that of training "
        "contexts did not"
    )


def test_both_falling_is_no_divergence(tmp_path: Path) -> None:
    assert len(guarded(tmp_path, [0.5, 0.4, 0.3], [0.35, 0.1, 0.1], max_drop=0.3)) == 3


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"max_kl": 0.8}, "edits are 1 nats from the start's, more than 0.8"),
        ({"min_entropy": 0.6}, "the entropy per token is 0.50 times the start's"),
    ],
)
def test_what_a_policy_writes_stops_the_loop(tmp_path: Path, settings: Any, said: str) -> None:
    done = guarded(tmp_path, [0.3] * 4, [0.3] * 4, **settings)
    assert len(done) == 2
    assert done[1].metrics["note"] == f"stopped after round 2: {said}"


def test_limits_of_0_never_stop(tmp_path: Path) -> None:
    off = {"max_kl": 0.0, "max_length": 0.0, "min_length": 0.0, "min_entropy": 0.0, "max_drop": 0.0}
    assert len(guarded(tmp_path, [0.3, 0.4, 0.5, 0.6], [0.3, 0.0, 0.0, 0.0], **off)) == 4


def test_without_a_validation_split_training_contexts_are_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SPLITS, "validation", {})
    [done] = guarded(tmp_path, [0.3], [0.4])
    assert done.metrics["held_out"] == pytest.approx(0.4)


# --- the rules for trainers -----------------------------------------------------------------------------------------


class TestGrpo(TrainerContract):
    component = GrpoLoop
    settings: ClassVar[Mapping[str, Any]] = {"contexts": 3, "samples": 2}


class TestDpo(TrainerContract):
    component = DpoLoop
    settings: ClassVar[Mapping[str, Any]] = {"contexts": 3, "samples": 2}


class TestGuarded(TrainerContract):
    component = Guarded
    settings: ClassVar[Mapping[str, Any]] = {"contexts": 2, "inner": {"use": "restem", "contexts": 3, "samples": 2}}


class TestRewardReport(TrainerContract):
    component = RewardReport
    settings: ClassVar[Mapping[str, Any]] = {"contexts": 3, "samples": 2, "repeats": 2, "truth_seeds": 2}
