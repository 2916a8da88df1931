"""What a component returns is checked at once: a wrong value gives one line that names the plugin at fault."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.api import (
    Ask,
    EditAsk,
    Editor,
    Evaluator,
    Example,
    Reward,
    RewardFunction,
    Round,
    Score,
    SelfEdit,
    State,
    Trainer,
    Updated,
    UpdateJob,
    Updater,
)
from harness.errors import PluginError
from harness.runs.arm import _rounds
from harness.testing import ScriptedLM
from harness.testing.scripted import _built
from tests.session import parts


class Gives(Editor, RewardFunction, Updater, Evaluator, Trainer):
    """A component of any kind that returns (or raises) what it is told to."""

    accepts = frozenset({Example})

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def _give(self, items: Sequence[Any]) -> Any:
        answer = self._answer(items) if callable(self._answer) else self._answer
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def propose(self, asks: Sequence[Any], s: Any, /) -> Any:
        return self._give(asks)

    def score(self, groups: Sequence[Any], s: Any, /) -> Any:
        return self._give(groups)

    def apply(self, jobs: Sequence[Any], s: Any, /) -> Any:
        return self._give(jobs)

    def evaluate(self, asks: Sequence[Any], references: Any, s: Any, /) -> Any:
        return self._give(asks)

    def run(self, s: Any, /) -> Any:
        return self._give([s])


def edit(episode: str, **more: Any) -> SelfEdit:
    return SelfEdit(f"{episode}/0", episode, (Example("", "text"),), **more)


def generated(asks: Sequence[EditAsk]) -> Any:
    yield [edit(asks[0].episode.id)]
    raise ZeroDivisionError("late")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "gave nothing (None), not a list for each of the 2 asks"),
        (lambda asks: [None for _ in asks], "gave nothing (None) where the list for one of the asks belongs"),
        (lambda asks: [edit(ask.episode.id) for ask in asks], "gave a SelfEdit where the list"),
        (generated, "raised ZeroDivisionError: late"),
        (lambda asks: [[edit("dogs")] for _ in asks], "gave edit 'dogs/0' of episode 'dogs' for episode 'cats'"),
        (
            lambda asks: [[edit(ask.episode.id)] * 2 for ask in asks],
            "2 edits for episode 'cats', and was asked for 1",
        ),
        (lambda asks: [[edit(ask.episode.id, status="fine")] for ask in asks], "has the status 'fine'; it may be ok"),
        (
            lambda asks: [[SelfEdit("e", ask.episode.id, ("text",))] for ask in asks],
            "holds a str, which is not training",
        ),
        (
            lambda asks: [[edit(ask.episode.id, settings={"rate": float("nan")})] for ask in asks],
            "cannot be written to",
        ),
        (lambda asks: [[edit(ask.episode.id, settings={"rate": {1, 2}})] for ask in asks], "cannot be written to"),
        (SystemExit(0), "raised SystemExit: 0"),
        (BaseException("odd"), "raised BaseException: odd"),
    ],
)
def test_what_an_editor_gives(tmp_path: Path, answer: Any, said: str) -> None:
    s = parts.session(tmp_path, ScriptedLM({}), editor=("editor", Gives(answer)))
    with pytest.raises(PluginError) as caught:
        s.propose("teacher", [EditAsk(e, s.roles["teacher"], 1, 0) for e in s.episodes("train")])
    assert "editor 'Gives'" in str(caught.value)
    assert said in str(caught.value)


def test_a_generator_of_lists_does(tmp_path: Path) -> None:
    class Lazy(Gives):
        def propose(self, asks: Sequence[EditAsk], s: Any, /) -> Any:
            for ask in asks:
                yield (edit(ask.episode.id) for _ in range(1))

    s = parts.session(tmp_path, ScriptedLM({}), editor=("editor", Lazy(None)))
    groups = s.propose("teacher", [EditAsk(e, s.roles["teacher"], 1, 0) for e in s.episodes("train")])
    assert [[one.id for one in group.edits] for group in groups] == [["cats/0"], ["dogs/0"]]


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        (Reward("0.5"), "has the value '0.5', which is not a number"),  # type: ignore[arg-type]
        (Reward(True), "has the value True, which is not a number"),
        (Reward(float("nan")), "has the value nan"),
        (Reward(float("inf")), "has the value inf"),
        (Reward(None), "must have a value exactly when its status is not error"),
        (0.5, "gave a float, not a Reward"),
    ],
)
def test_a_bad_reward_is_the_rewards_fault_and_not_the_trainers(tmp_path: Path, reward: Any, said: str) -> None:
    s = parts.session(
        tmp_path, ScriptedLM(parts.knows_after_training), reward=("reward", Gives(lambda groups: [[reward]]))
    )
    [group] = s.propose("teacher", [EditAsk(s.episodes("train")[0], s.roles["teacher"], 1, 0)])
    with pytest.raises(PluginError) as caught:
        s.reward([group])
    assert "reward 'Gives'" in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "gave nothing (None), not an answer for each of the 1 jobs"),
        (lambda jobs: [Updated(jobs[0].id, "here")], "gave a str, not a State"),  # type: ignore[arg-type]
        (lambda jobs: [Updated(jobs[0].id, None, "lost")], "has the status 'lost'"),  # type: ignore[arg-type]
        (
            lambda jobs: [Updated(jobs[0].id, State("b"), log={"loss": float("nan")})],
            "cannot be written to the journal",
        ),
    ],
)
def test_what_an_updater_gives(tmp_path: Path, answer: Any, said: str) -> None:
    s = parts.session(tmp_path, ScriptedLM({}), updater=("updater", Gives(answer)))
    with pytest.raises(PluginError) as caught:
        s.update("updater", [UpdateJob("j", s.roles["student"], (edit("cats"),), 0)])
    assert "updater 'Gives'" in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "gave nothing (None), not a list for each of the 1 asks"),
        (lambda asks: [[Score("cats", "cats/q0", 1.5)]], "has the value 1.5, which is not in [0, 1]"),
        (lambda asks: [[Score("cats", "cats/q0", float("nan"))]], "has the value nan"),
        (lambda asks: [["1.0"]], "gave a str, not a Score"),
        (lambda asks: [[]], "one score for every query of episode 'cats'"),
    ],
)
def test_what_an_evaluator_gives(tmp_path: Path, answer: Any, said: str) -> None:
    s = parts.session(tmp_path, ScriptedLM({}), evaluator=("evaluator", Gives(answer)))
    with pytest.raises(PluginError) as caught:
        s.evaluate([Ask(s.roles["student"], s.episodes("train")[0])])
    assert "evaluator 'Gives'" in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "run must yield rounds"),
        ([{"index": 0}], "gave a dict, not a Round"),
        ([Round(0, {"teacher": "state"})], "its roles must map names to states"),  # type: ignore[dict-item]
        ([Round(0, {}, {"loss": float("inf")})], "cannot be written to the journal"),
        (SystemExit(0), "raised SystemExit: 0"),
    ],
)
def test_what_a_trainer_gives(tmp_path: Path, answer: Any, said: str) -> None:
    s = parts.session(tmp_path, ScriptedLM({}))
    with pytest.raises(PluginError) as caught:
        list(_rounds(_built("trainer", Gives(answer)), s))
    assert "trainer 'Gives'" in str(caught.value)
    assert said in str(caught.value)


def test_ctrl_c_in_a_component_stays_what_it_is(tmp_path: Path) -> None:
    s = parts.session(tmp_path, ScriptedLM({}), editor=("editor", Gives(KeyboardInterrupt())))
    with pytest.raises(KeyboardInterrupt):
        s.propose("teacher", [EditAsk(s.episodes("train")[0], s.roles["teacher"], 1, 0)])
    assert sys.exc_info() == (None, None, None)
