"""Evol-Instruct and FOBAR: what is eliminated and why, what is asked backwards, and what changes nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest
from harness_lab_maths import world
from harness_lab_maths.maths_task import LabMaths
from harness_selection.evolve import EvolInstruct
from harness_selection.evolving import copies, is_empty, leaks, masked, refuses
from hypothesis import given
from hypothesis import strategies as st

from harness.api import Request, Round
from harness.errors import RunError, UsageError
from harness.evaluators.sampled import Sampled
from harness.session.service import SessionService
from harness.testing import TrainerContract
from harness.testing.scripted import ScriptedLM, open_session
from tests.learning import Learner

SMALL: Mapping[str, Any] = {
    "generations": 2, "operators": {"harder": "harder Q {question} then Q"}, "phrases": ("harder",), "samples": 2,
    "pattern": r"(\w+ has \d+ \w+\. (?:\w+ \d+\. )+how many\?)", "max_tokens": 96, "mask": r" has (\d+) ",
    "backward": "back Q {masked} A {answer}. x?",
}  # fmt: skip


class TestEvolInstruct(TrainerContract):
    component = EvolInstruct
    sees = "context+queries"
    settings: ClassVar[Mapping[str, Any]] = {"generations": 1, "contexts": 2}
    slots: ClassVar[Mapping[str, tuple[str, Any]]] = {"sft": ("updater", Learner())}


# --- the rules ---


def test_what_says_nothing_new_is_a_copy() -> None:
    assert copies("Kim has 3 coins. how many?", "kim has 3 coins, how many")
    assert copies("has 3 coins", "Kim has 3 coins. how many?")
    assert copies("?!", "Kim")
    assert not copies("Kim has 4 coins. how many?", "Kim has 3 coins. how many?")
    assert not copies("Kim has 3 coins. finds 2. how many?", "Kim has 3 coins. how many?")


@given(st.lists(st.sampled_from(["a", "b", "c"]), max_size=6), st.lists(st.sampled_from(["a", "b", "c"]), max_size=4))
def test_a_question_with_a_word_more_is_no_copy(parent: list[str], more: list[str]) -> None:
    text = " ".join(parent)
    assert copies(text, text)
    assert copies(" ".join([*parent, *more, "new"]), text) is False


def test_words_of_the_evolving_prompt_are_a_leak() -> None:
    assert leaks("This new task asks", "How many?", ("new task",)) == "new task"
    assert not leaks("The renewed tasks", "How many?", ("new task",))
    assert not leaks("a new task", "What is a new task?", ("new task",)), "its parent had it"
    assert not leaks("a new task", "x", ())


def test_bad_responses() -> None:
    assert refuses("Sorry, I cannot do that.")
    assert not refuses("sorry " + "word " * 80)
    assert is_empty("... and so it is.")
    assert is_empty("")
    assert not is_empty("so 3.")


def test_one_number_is_hidden() -> None:
    pattern = re.compile(r" has (\d+) ")
    assert masked("Kim has 82 coins. finds 8.", pattern, "x", 1) == ("Kim has x coins. finds 8.", "82")
    assert masked("Kim finds coins.", pattern, "x", 1) is None
    hidden = {masked("1 and 2 and 3", re.compile(r"\d"), "x", seed) for seed in range(20)}
    assert hidden == {("x and 2 and 3", "1"), ("1 and x and 3", "2"), ("1 and 2 and x", "3")}


# --- the loop ---


def answer(request: Request, n: int) -> str:
    """Adds an event to most problems, copies some, writes nonsense for some; solves; finds starts of even answers."""
    prompt = str(request.prompt)
    if prompt.startswith("harder"):
        question = prompt.removeprefix("harder Q ").removesuffix(" then Q")
        problem = world.parse(question)
        assert problem is not None
        kind = problem.start % 4
        if kind == 1:
            return question
        return (
            "nonsense" if kind == 2 else question.replace(" how many?", f" finds {2 + len(problem.events)}. how many?")
        )
    if prompt.startswith("back"):
        said = int(prompt.split(" A ")[1].split(".")[0])
        events = re.findall(r"(\w+) (\d+)\.", prompt.split(" A ")[0])
        start = said - sum(int(number) if world.SIGNS[verb] == "+" else -int(number) for verb, number in events)
        return f"so {start if said % 2 == 0 else start + 1}."
    problem = world.parse(prompt.removeprefix("Q ").removesuffix(" A"))
    assert problem is not None
    if problem.start % 4 == 3:
        return "sorry, so 3."
    return f"so {problem.answer if problem.answer % 2 == 0 else problem.answer + 2}."


def ran(
    folder: Path, seed: int = 1, rule: Any = answer, train: int = 12, **settings: Any
) -> tuple[list[Round], ScriptedLM, Learner, SessionService]:
    model, learner = ScriptedLM(rule), Learner()
    slots: dict[str, tuple[str, Any]] = {"sft": ("updater", learner)}
    slots |= {"evaluator": ("evaluator", Sampled(Sampled.Settings(samples=2)))}
    task = LabMaths(LabMaths.Settings(train=train, test=4, seed=seed, events=(2,)))
    s = open_session(folder, task, {"teacher": model}, slots, roles={"student": "@teacher"}, sees="context+queries")
    rounds = list(EvolInstruct(EvolInstruct.Settings(**{**SMALL, **settings})).run(s.sealed))
    s.journal.close()
    return rounds, model, learner, s


def test_questions_grow_and_eliminated_ones_leave_their_parents(tmp_path: Path) -> None:
    [round_], model, learner, _ = ran(tmp_path, train=24)
    found = round_.metrics
    starts = [problem.start % 4 for problem in world.problems("train", 24, 1, (2,))]
    assert set(starts) == {0, 1, 2, 3}
    grown = starts.count(0)
    assert found["questions_0"] == 24
    assert found["questions_1"] == found["questions_2"] == grown
    for generation in (1, 2):
        assert found.get(f"eliminated_{generation}_no-gain", 0) == starts.count(1)
        assert found.get(f"eliminated_{generation}_unreadable", 0) == starts.count(2)
        assert found.get(f"eliminated_{generation}_refused", 0) == starts.count(3)
    asked = [str(one.prompt) for one in model.asked if str(one.prompt).startswith("harder")]
    lengths = [len(re.findall(r"\w+ \d+\.", text)) for text in asked]
    assert lengths.count(2) == 24 + 24 - grown, "a parent whose child was eliminated evolves again"
    assert lengths.count(3) == grown
    [job] = learner.jobs
    assert len(job.edits) == found["examples"]


def test_backwards_only_right_answers_are_kept(tmp_path: Path) -> None:
    """Here a start is found again where the answer is even, and an odd answer was given wrongly, as an odd one."""
    _, _, learner, s = ran(tmp_path)
    right, of = s.diagnoses["FOBAR kept"]
    assert right == of > 0
    wrong, others = s.diagnoses["FOBAR dropped"]
    assert wrong == 0 < others
    assert all("so" in edit.data[0].target for edit in learner.jobs[0].edits)  # type: ignore[union-attr]


def test_controls_evolve_nothing_or_check_nothing(tmp_path: Path) -> None:
    seeds, model, _, _ = ran(tmp_path / "seeds", evolve=False)
    assert not any(str(one.prompt).startswith("harder") for one in model.asked)
    assert seeds[0].metrics["examples"] > 0
    _, model, learner, _ = ran(tmp_path / "unchecked", check=False, learn=5)
    assert not any(str(one.prompt).startswith("back") for one in model.asked)
    assert len(learner.jobs[0].edits) == 5


def test_what_is_right_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The leak test: other references, the same requests, updates and rounds."""
    one = ran(tmp_path / "a")
    load = LabMaths.load
    monkeypatch.setattr(
        LabMaths, "load", lambda self, split: [(e, dict.fromkeys(gold, ("7",))) for e, gold in load(self, split)]
    )
    monkeypatch.setattr(LabMaths, "solutions", lambda self, query: ("7",))
    other = ran(tmp_path / "b")
    assert one[0] == other[0]
    assert one[1].asked == other[1].asked
    assert one[2].jobs == other[2].jobs
    assert one[3].diagnoses != other[3].diagnoses
    assert one[3].labels == other[3].labels == set()


def test_another_life_repeats_it_from_the_journal(tmp_path: Path) -> None:
    once = ran(tmp_path)[0]
    again, model, learner, _ = ran(tmp_path)
    assert once == again
    assert not model.asked
    assert not learner.jobs


def test_a_question_of_the_test_is_not_learnt(tmp_path: Path) -> None:
    taken = world.problems("test", 4, 1, (2,))[0].text

    def copying(request: Request, n: int) -> str:
        return taken if str(request.prompt).startswith("harder") else answer(request, n)

    [round_], _, learner, _ = ran(tmp_path, rule=copying, check=False)
    assert round_.metrics["eliminated_1_test"] == 12
    assert not any(taken in str(edit.data) for edit in learner.jobs[0].edits)


def test_a_lost_answer_stops_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import dataclasses

    generate = ScriptedLM.generate

    def losing(self: ScriptedLM, asks: Sequence[Request], /) -> Any:
        rows = generate(self, asks)
        return [
            [dataclasses.replace(one, finish="error", reason="gone") for one in row]
            if str(row[0].request.prompt).startswith("harder")
            else row
            for row in rows
        ]

    monkeypatch.setattr(ScriptedLM, "generate", losing)
    with pytest.raises(RunError, match="gone"):
        ran(tmp_path)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"operators": {}}, "there is none"),
        ({"operators": {"harder": "make it harder"}}, "operators.harder: the prompt has no {question}"),
        ({"backward": "what is x?"}, "needs {masked} and {answer}"),
        ({"pattern": r"\w+"}, "needs a group"),
        ({"mask": "("}, "trainer.mask"),
    ],
)
def test_bad_settings_are_one_line(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        EvolInstruct(EvolInstruct.Settings(**{**SMALL, **settings}))
