"""Rewards in a real session, with an evaluator whose values are written down."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from harness_outer_loops.probability import AnswerProbability, AnswerProbabilitySettings
from harness_outer_loops.screen import Screen, ScreenThenTrial
from harness_outer_loops.trials import TrialProbability
from harness_seal.editors import Prompted
from harness_seal.trial import Trial

from harness.api import (
    Ask,
    EditAsk,
    Evaluator,
    Group,
    References,
    Request,
    Reward,
    RewardFunction,
    Score,
    SelfEdit,
    Session,
    State,
)
from harness.errors import UsageError
from harness.evaluators.closed_book import ClosedBook
from harness.session.service import SessionService
from harness.testing import EvaluatorContract, RewardContract, ScriptedLM, ScriptedTask, open_session
from tests.seal.notebook import Notebook

SPLITS = {"train": {"t0": ("text", {"What pulls?": ["moon"], "What falls?": ["sea", "the sea"]})}}
TEXTS = ["nothing", "moon", "moon sea", "sea sea sea", ""]


class Counted(Evaluator):
    """A value for every word of the answers that the memory holds, less a little for every time it was asked."""

    metric = "counted"

    def __init__(self, noise: Mapping[str, Sequence[float]] | None = None) -> None:
        self.asked: list[str] = []
        self._noise = {key: list(values) for key, values in (noise or {}).items()}

    def evaluate(
        self, asks: Sequence[Ask], references: Mapping[str, References], s: Session, /
    ) -> Iterator[Sequence[Score]]:
        for ask in asks:
            learnt = str(ask.state.memory.get("passage", "")).removesuffix(" / text")
            self.asked.append(learnt)
            waiting = self._noise.get(learnt)
            value = waiting.pop(0) if waiting else len({*learnt.split()} & {"moon", "sea"}) / 4
            yield [Score(ask.episode.id, query.id, value) for query in ask.episode.queries]


def writes(request: Request, n: int) -> str:
    return TEXTS[n % len(TEXTS)] if "Question: " not in str(request.prompt) else "?"


def opened(folder: Path, evaluator: Evaluator, **slots: Any) -> SessionService:
    parts: dict[str, tuple[str, Any]] = {
        "editor": ("editor", Prompted(Prompted.Settings())),
        "updater": ("updater", Notebook()),
        "evaluator": ("evaluator", ClosedBook(ClosedBook.Settings())),
        "probability": ("evaluator", evaluator),
        **slots,
    }
    return open_session(
        folder, ScriptedTask(SPLITS), {"teacher": ScriptedLM(writes)}, parts, roles={"student": "@teacher"}
    )


def candidates(s: SessionService) -> list[Group]:
    [episode] = s.episodes("train")
    return list(s.propose("teacher", [EditAsk(episode, s.roles["teacher"], 5, 0)]))


def test_a_trial_asks_the_slot_that_it_names(tmp_path: Path) -> None:
    reward = TrialProbability(TrialProbability.Settings(inner_seeds=2))
    s = opened(tmp_path, Counted(), reward=("reward", reward))
    [group] = s.reward(candidates(s))
    assert [one.value for one in group.rewards] == [0.0, 0.25, 0.5, 0.25, 0.0]
    assert group.rewards[1].measures == {"runs": [0.25, 0.25], "baseline": 0.0, "gain": 0.25}


def test_both_slots_book_their_own_trials(tmp_path: Path) -> None:
    """The same updates asked by two evaluators are two results, also after a restart."""
    slots = {
        "accuracy": ("reward", Trial(Trial.Settings(inner_seeds=1))),
        "reward": ("reward", TrialProbability(TrialProbability.Settings())),
    }
    s = opened(tmp_path, Counted(), **slots)
    groups = candidates(s)
    rows = [[one.value for one in s.reward(groups, name=name)[0].rewards] for name in ("accuracy", "reward")]
    assert rows[0] == [0.0] * 5  # what the scripted model answers is never right
    assert rows[1] == [0.0, 0.25, 0.5, 0.25, 0.0]
    s.journal.close()
    watched = Counted()
    again = opened(tmp_path, watched, **slots)
    groups = candidates(again)
    assert [[one.value for one in again.reward(groups, name=n)[0].rewards] for n in ("accuracy", "reward")] == rows
    assert watched.asked == []


def test_an_unknown_slot_is_named(tmp_path: Path) -> None:
    reward = TrialProbability(TrialProbability.Settings(evaluator="probabilty"))
    s = opened(tmp_path, Counted(), reward=("reward", reward))
    with pytest.raises(UsageError, match=r"no evaluator slot 'probabilty'.*'probability'"):
        s.reward(candidates(s))


def test_an_early_exit_changes_the_updates_settings(tmp_path: Path) -> None:
    updater = Notebook()
    reward = TrialProbability(TrialProbability.Settings(epochs=3))
    s = opened(tmp_path, Counted(), reward=("reward", reward), updater=("updater", updater))
    s.reward(candidates(s))
    assert {job.settings["epochs"] for job in updater.jobs} == {3}


@pytest.mark.parametrize(
    ("extra", "runs"),
    [
        (0, [1, 1, 1, 1, 1]),
        (2, [1, 2, 2, 1, 1]),  # the better half of four, best first
        (4, [1, 3, 3, 1, 1]),
        (5, [1, 3, 4, 1, 1]),
    ],
)
def test_further_updates_go_to_those_that_may_be_best(tmp_path: Path, extra: int, runs: list[int]) -> None:
    reward = TrialProbability(TrialProbability.Settings(extra=extra))
    s = opened(tmp_path, Counted(), reward=("reward", reward))
    [group] = s.reward(candidates(s))
    assert [len(one.measures["runs"]) for one in group.rewards] == runs


def test_a_lucky_first_run_is_found_out(tmp_path: Path) -> None:
    lucky = {"nothing": [0.9, 0.0, 0.0, 0.0], "moon sea": [0.6] * 6}
    values = {}
    for extra in (0, 4):
        reward = TrialProbability(TrialProbability.Settings(extra=extra))
        s = opened(tmp_path / str(extra), Counted(lucky), reward=("reward", reward))
        [group] = s.reward(candidates(s))
        values[extra] = [one.value or 0.0 for one in group.rewards]
    assert values[0].index(max(values[0])) == 0
    assert values[4].index(max(values[4])) == 2


def test_a_screen_shows_the_edit_and_trains_nothing(tmp_path: Path) -> None:
    updater, evaluator = Notebook(), Counted()
    reward = Screen(Screen.Settings())
    s = opened(tmp_path, evaluator, reward=("reward", reward), updater=("updater", updater))
    [group] = s.reward(candidates(s))
    assert [one.value for one in group.rewards] == [0.0, 0.25, 0.5, 0.25, 0.0]
    assert evaluator.asked == ["", "nothing", "moon", "moon sea", "sea sea sea"]
    assert updater.jobs == []
    assert group.rewards[2].measures == {"baseline": 0.0, "gain": 0.5}


def test_a_trial_and_a_screen_add_up(tmp_path: Path) -> None:
    reward = TrialProbability(TrialProbability.Settings(screen=0.5))
    s = opened(tmp_path, Counted(), reward=("reward", reward))
    [group] = s.reward(candidates(s))
    assert [one.value for one in group.rewards] == [0.0, 0.375, 0.75, 0.375, 0.0]
    assert group.rewards[2].measures == {"runs": [0.5], "baseline": 0.0, "gain": 0.5, "screen": 0.5}


def test_two_in_a_row_try_few_and_put_all_on_one_scale(tmp_path: Path) -> None:
    updater = Notebook()
    trial = TrialProbability(TrialProbability.Settings(evaluator="twice"))

    class Twice(Counted):
        def evaluate(self, asks: Any, references: Any, s: Any, /) -> Iterator[Sequence[Score]]:
            for row in super().evaluate(asks, references, s):
                yield [Score(one.episode, one.query, 0.1 + (one.value or 0.0) * 0.8) for one in row]

    reward = ScreenThenTrial(ScreenThenTrial.Settings(keep=3), Screen(Screen.Settings()), trial)
    slots = {"reward": ("reward", reward), "updater": ("updater", updater), "twice": ("evaluator", Twice())}
    s = opened(tmp_path, Counted(), **slots)
    [group] = s.reward(candidates(s))
    assert [job.id.partition("#")[0] for job in updater.jobs] == ["t0/1", "t0/2", "t0/3"]
    assert [one.value for one in group.rewards] == pytest.approx([0.1, 0.3, 0.5, 0.3, 0.0])
    assert group.rewards[0].measures == {"screen": 0.0, "predicted": pytest.approx(0.1)}
    assert group.rewards[2].measures["trial"] == pytest.approx(0.5)
    assert group.rewards[4].measures == {"screen": 0.0}  # a failed edit is worth nothing, whatever the line says


def test_a_screen_that_misleads_never_turns_the_order_round() -> None:
    class Fixed(RewardFunction):
        def __init__(self, *values: float) -> None:
            self.values = values

        def score(self, groups: Sequence[Group], s: Session, /) -> Sequence[Sequence[Reward]]:
            return [[Reward(self.values[int(edit.id[-1])]) for edit in group.edits] for group in groups]

    edits = tuple(SelfEdit(f"e/{i}", "e", ()) for i in range(3))
    group = Group(EditAsk(None, State("b"), 3, 0), edits)  # type: ignore[arg-type]
    both = ScreenThenTrial(ScreenThenTrial.Settings(keep=2), Fixed(0.1, 0.5, 0.9), Fixed(0.0, 0.8, 0.2))
    [row] = both.score([group], None)  # type: ignore[arg-type]
    assert [one.value for one in row] == [0.5, 0.8, 0.2]  # the mean of those tried, not an extrapolation upwards


# --- the probability of an answer -----------------------------------------------------------------------------------


class Likely(ScriptedLM):
    def logprobs(self, asks: Sequence[tuple[State, Any, str]], /) -> list[list[float]]:
        return [[math.log(0.5)] * len(text.split()) for _, _, text in asks]


def probability(folder: Path, splits: Any, **settings: Any) -> list[Score]:
    evaluator = AnswerProbability(AnswerProbabilitySettings(**settings))
    s = open_session(folder, ScriptedTask(splits), {"teacher": Likely({})}, {"evaluator": ("evaluator", evaluator)})
    [episode] = s.episodes("train")
    [row] = s.evaluate([Ask(s.roles["teacher"], episode)])
    return list(row)


def test_the_likeliest_accepted_answer_counts(tmp_path: Path) -> None:
    splits = {"train": {"t": ("x", {"a?": ["one two three", "one two"], "b?": ["one"]})}}
    assert [one.value for one in probability(tmp_path / "p", splits)] == pytest.approx([0.25, 0.5])
    assert [one.value for one in probability(tmp_path / "r", splits, of="root")] == pytest.approx([0.5, 0.5**0.5])


def test_without_a_reference_there_is_no_probability(tmp_path: Path) -> None:
    [score] = probability(tmp_path, {"train": {"t": ("x", {"a?": []})}})
    assert (score.value, score.status, score.measures["reason"]) == (None, "error", "no reference answer")


# --- the rules for rewards ------------------------------------------------------------------------------------------


class TestTrialProbability(RewardContract):
    component = TrialProbability
    settings: ClassVar[Mapping[str, Any]] = {"evaluator": "evaluator", "extra": 2}


class TestScreen(RewardContract):
    component = Screen
    settings: ClassVar[Mapping[str, Any]] = {"evaluator": "evaluator"}

    def test_a_lost_trial_is_an_error(self, tmp_path: Path) -> None:
        """It makes no trial."""


class TestScreenThenTrial(RewardContract):
    component = ScreenThenTrial
    independent = False
    settings: ClassVar[Mapping[str, Any]] = {
        "keep": 1,
        "screen": {"use": "screen", "evaluator": "evaluator"},
        "trial": {"use": "trial", "inner_seeds": 1},
    }


class TestAnswerProbability(EvaluatorContract):
    component = AnswerProbability
