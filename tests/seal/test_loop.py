"""The trial reward and ReST-EM in a real session, with a student whose learning can be observed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from harness_seal.editors import Prompted
from harness_seal.restem import RestEM
from harness_seal.trial import Trial

from harness.api import (
    EditAsk,
    Episode,
    Evaluator,
    Example,
    Group,
    Request,
    Reward,
    RewardFunction,
    Round,
    Score,
    SelfEdit,
    State,
)
from harness.errors import RunError, UsageError
from harness.evaluators.closed_book import ClosedBook
from harness.session.service import SessionService
from harness.testing.scripted import ScriptedLM, ScriptedTask, open_session
from harness.updaters.lora import Lora
from tests.seal.notebook import Broken, Habit, Notebook

QUESTIONS = {"What pulls?": ["moon"], "What falls?": ["sea"]}
SPLITS = {
    "train": {f"t{n}": (f"text {n}", QUESTIONS) for n in range(5)},
    "test": {"x": ("text x", QUESTIONS)},
}
TEXTS = ["nothing", "moon", "moon sea", "moon sea sky", ""]
"""By sample index: worth 0, 1/2, 1 and 1 of the two questions, and an edit that fails."""


def model_rule(request: Request, n: int) -> str:
    """Writes ``TEXTS``; answers a question right if the word is in a text that was learnt."""
    prompt = str(request.prompt)
    if "Question: " not in prompt:
        return TEXTS[n % len(TEXTS)]
    word = "moon" if "What pulls?" in prompt else "sea"
    return word if word in prompt.partition("Question: ")[0] else "?"


def opened(folder: Path, **slots: Any) -> tuple[SessionService, ScriptedLM]:
    model = ScriptedLM(model_rule)
    kinds = {"policy": "updater"}
    components = {
        "editor": Prompted(Prompted.Settings()),
        "updater": Notebook(),
        "policy": Habit(),
        "reward": Trial(Trial.Settings(inner_seeds=2)),
        "evaluator": ClosedBook(ClosedBook.Settings()),
        **slots,
    }
    built = {name: (kinds.get(name, name), component) for name, component in components.items()}
    return open_session(folder, ScriptedTask(SPLITS), {"teacher": model}, built, roles={"student": "@teacher"}), model


def rewarded(s: SessionService, contexts: int = 1) -> Any:
    asks = [EditAsk(episode, s.roles["teacher"], 5, seed=0) for episode in s.episodes("train", contexts)]
    return s.reward(s.propose("teacher", asks))


# --- the reward ----------------------------------------------------------------------------------------------------


def test_a_trial_is_the_mean_accuracy_over_inner_updates(tmp_path: Path) -> None:
    updater = Notebook()
    s, _ = opened(tmp_path, updater=updater)
    [group] = rewarded(s)
    assert [reward.value for reward in group.rewards] == [0.0, 0.5, 1.0, 1.0, 0.0]
    assert group.rewards[1].measures == {"runs": [0.5, 0.5], "baseline": 0.0, "gain": 0.5}
    assert len({job.seed for job in updater.jobs}) == len(updater.jobs) == 8  # the failed edit is never updated on
    assert group.edits[4].status == "failed"
    assert group.rewards[4].status == "ok"  # a failed edit has a value, and it is 0


def test_a_gain_takes_off_what_was_known(tmp_path: Path) -> None:
    s, _ = opened(tmp_path, reward=Trial(Trial.Settings(inner_seeds=1, of="gain")))
    s.roles["teacher"] = State(s.roles["teacher"].base, (), {"passage": "moon"})
    [group] = rewarded(s)
    assert [reward.value for reward in group.rewards] == [-0.5, 0.0, 0.5, 0.5, -0.5]


def test_a_lost_inner_run_makes_the_reward_an_error(tmp_path: Path) -> None:
    s, _ = opened(tmp_path, updater=Broken("error", "out of memory"))
    [group] = rewarded(s)
    assert [(reward.value, reward.status) for reward in group.rewards[:4]] == [(None, "error")] * 4
    assert group.rewards[0].measures["reason"] == "an inner run was lost"


def test_a_lost_baseline_makes_the_reward_an_error() -> None:
    class Half(Evaluator):
        """A session whose answers before the update are lost."""

        def __init__(self) -> None:
            self.roles = {"student": State("b")}

        def seed(self, *name: object) -> int:
            return 0

        def evaluate(self, asks: Sequence[Any]) -> list[list[Score]]:
            return [[Score("e", "q", None, "error")] for _ in asks]

        def trial(self, jobs: Sequence[Any]) -> list[list[Score]]:
            return [[Score("e", "q", 1.0)] for _ in jobs]

    group = Group(EditAsk(Episode("e", "train", {}), State("b"), 1, 0), (SelfEdit("e/0", "e", ()),))
    half: Any = Half()
    [[reward]] = Trial(Trial.Settings(inner_seeds=1)).score([group], half)
    assert (reward.value, reward.status) == (None, "error")


# --- the outer loop ------------------------------------------------------------------------------------------------


def rounds(s: SessionService, **settings: Any) -> list[Round]:
    return list(RestEM(RestEM.Settings(**settings)).run(s))


def test_the_policy_learns_the_best_edit_of_each_context(tmp_path: Path) -> None:
    policy = Habit()
    s, _ = opened(tmp_path, policy=policy)
    [first, second] = rounds(s, rounds=2, contexts=2, samples=5)
    assert len(policy.jobs) == 2
    for job in policy.jobs:
        targets = [item.target for edit in job.edits for item in edit.data if isinstance(item, Example)]
        assert targets == ["moon sea", "moon sea"]  # of equals, the first
        assert all(item.prompt == edit.actions[0].request.prompt for edit in job.edits for item in edit.data)  # type: ignore[union-attr]
    assert [edit.episode for job in policy.jobs for edit in job.edits] == ["t0", "t1", "t2", "t3"]
    assert policy.jobs[1].start == first.roles["teacher"]
    assert second.roles["teacher"].memory == {"habit": "moon sea / moon sea"}
    assert first.roles["student"] == first.roles["teacher"]  # the student follows
    assert (first.index, second.index) == (0, 1)
    assert first.metrics == {
        "contexts": 2,
        "candidates": 10,
        "failed": 2,
        "lost": 0,
        "tied": 2,
        "reward_mean": 0.5,
        "reward_best": 1.0,
        "reliability": {"value": 1.0, "low": 1.0, "high": 1.0},
        "kept": 2,
        "policy_steps": 2,
        "policy_loss": 0.5,
    }


def test_improving_keeps_every_edit_that_helps(tmp_path: Path) -> None:
    policy = Habit()
    s, _ = opened(tmp_path, policy=policy)
    [done] = rounds(s, rounds=1, contexts=1, samples=5, select="improving")
    assert [edit.id for edit in policy.jobs[0].edits] == ["t0/1", "t0/2", "t0/3"]
    assert done.metrics["kept"] == 3


def test_a_round_that_keeps_nothing_leaves_the_policy_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "TEXTS", [""])
    s, _ = opened(tmp_path)
    before = s.roles["teacher"]
    with caplog.at_level(logging.WARNING, "harness"):
        [done] = rounds(s, rounds=1, contexts=3, samples=2)
    assert done.roles["teacher"] == before
    assert done.metrics["kept"] == 0
    assert done.metrics["failed"] == 6
    assert done.metrics["note"] == "nothing was kept: the policy stays as it was"
    assert "nothing was kept" in caplog.text


def test_contexts_start_over_where_there_are_no_more(tmp_path: Path) -> None:
    policy = Habit()
    s, _ = opened(tmp_path, policy=policy)
    rounds(s, rounds=2, contexts=4, samples=3)
    assert [[edit.episode for edit in job.edits] for job in policy.jobs] == [
        ["t0", "t1", "t2", "t3"],
        ["t4", "t0", "t1", "t2"],
    ]
    [done] = rounds(opened(tmp_path / "more")[0], rounds=1, contexts=50, samples=3)
    assert done.metrics["contexts"] == 5


def test_an_outer_update_that_fails_leaves_the_policy_and_says_so(tmp_path: Path) -> None:
    s, _ = opened(tmp_path, policy=Broken("failed", "the loss is not a number"))
    before = s.roles["teacher"]
    [done] = rounds(s, rounds=1, contexts=1, samples=3)
    assert done.roles["teacher"] == before
    assert "the loss is not a number" in done.metrics["note"]


def test_an_outer_update_that_is_lost_stops_the_run(tmp_path: Path) -> None:
    s, _ = opened(tmp_path, policy=Broken("error", "out of memory"))
    with pytest.raises(RunError, match="round 0: the update of the policy was lost: out of memory"):
        rounds(s, rounds=1, contexts=1, samples=3)


def test_without_training_contexts_it_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SPLITS, "train", {})
    with pytest.raises(UsageError, match="the task's train split is empty"):
        rounds(opened(tmp_path)[0], rounds=1)


def test_improving_needs_a_reward_that_knows_the_gain(tmp_path: Path) -> None:
    class Flat(RewardFunction):
        def score(self, groups: Sequence[Any], s: Any, /) -> Any:
            return [[Reward(1.0) for _ in group.edits] for group in groups]

    with pytest.raises(UsageError, match=r"trainer\.select 'improving' needs a reward that reports the gain"):
        rounds(opened(tmp_path, reward=Flat())[0], rounds=1, contexts=1, samples=3, select="improving")


def test_a_second_life_asks_nothing_again_and_gives_the_same_rounds(tmp_path: Path) -> None:
    first, _ = opened(tmp_path)
    done = rounds(first, rounds=2, contexts=2, samples=5)
    first.journal.close()
    again, model = opened(tmp_path)
    assert rounds(again, rounds=2, contexts=2, samples=5) == done
    assert model.asked == []


# --- what a policy starts from -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start_as", "adapters"), [(None, 2), ("merge", 2), ("fold", 2), ("continue", 1), ("stack", 4)]
)
def test_a_policy_that_goes_on_learning_does_not_grow(tmp_path: Path, start_as: str | None, adapters: int) -> None:
    s, _ = opened(tmp_path, policy=Lora(Lora.Settings()))
    done = rounds(s, rounds=4, contexts=1, samples=3, **({"start_as": start_as} if start_as else {}))
    sizes = [len(one.roles["teacher"].adapters) for one in done]
    assert sizes == ([1, 2, 3, 4] if start_as == "stack" else [1, *[adapters] * 3])
    assert {path.name for path in (tmp_path / "weights").iterdir()} == set(done[-1].roles["teacher"].adapters)


def test_a_released_policy_does_not_stand_in_the_way_of_a_second_life(tmp_path: Path) -> None:
    first, _ = opened(tmp_path, policy=Lora(Lora.Settings()))
    done = rounds(first, rounds=3, contexts=1, samples=3)
    first.journal.close()
    again, model = opened(tmp_path, policy=Lora(Lora.Settings()))
    assert rounds(again, rounds=3, contexts=1, samples=3) == done
    assert model.asked == []
