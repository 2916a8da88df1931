"""How a judge's answer becomes marks, and edits become rewards without any training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from harness_proxy_reward import rubric
from harness_proxy_reward.judged import Rubric, RubricSettings
from hypothesis import given
from hypothesis import strategies as st

from harness.api import Completion, EditAsk, Group, Request, Reward, SelfEdit, State
from harness.errors import UsageError
from harness.testing import ScriptedLM, ScriptedTask, open_session

TASK = ScriptedTask({"train": {"tides": ("The moon pulls the sea.", {"What pulls?": ["the moon"]})}})
MARKS = st.fixed_dictionaries({name: st.integers(1, 5) for name in rubric.CRITERIA})


@given(MARKS)
def test_marks_are_read_from_json_and_from_lines_alike(marks: dict[str, int]) -> None:
    lines = "\n".join(f"{name.title()}: {mark} - because" for name, mark in marks.items())
    assert rubric.read(json.dumps(marks), rubric.CRITERIA) == marks
    assert rubric.read(f"Sure:\n```json\n{json.dumps(marks)}\n```", rubric.CRITERIA) == marks
    assert rubric.read(lines + "\nTotal: 99", rubric.CRITERIA) == marks


@given(MARKS)
def test_reasons_stand_behind_their_marks(marks: dict[str, int]) -> None:
    lines = [f"{name}: {mark} - {{not JSON}}, as 2 of 5 lines: wrong" for name, mark in marks.items()]
    answer = "\n".join([*lines, "total: 20 - fine"])
    assert rubric.read(answer, rubric.CRITERIA, reasons=True) == marks
    with pytest.raises(rubric.Unreadable):
        rubric.read("\n".join(lines[1:]), rubric.CRITERIA, reasons=True)


@given(MARKS, st.sampled_from(rubric.CRITERIA))
def test_a_missing_mark_is_never_a_low_one(marks: dict[str, int], gone: str) -> None:
    left = {name: mark for name, mark in marks.items() if name != gone}
    for answer in (json.dumps(left), "\n".join(f"{name}: {mark}" for name, mark in left.items())):
        with pytest.raises(rubric.Unreadable, match=gone):
            rubric.read(answer, rubric.CRITERIA)


@pytest.mark.parametrize("mark", [0, 6, 3.5, True, "4", None])
def test_a_mark_out_of_range_is_refused(mark: object) -> None:
    with pytest.raises(rubric.Unreadable):
        rubric.read(json.dumps({**dict.fromkeys(rubric.CRITERIA, 3), "quality": mark}), rubric.CRITERIA)


@pytest.mark.parametrize("answer", ["", "{", "good notes!", "length: 4\nlength: 5", "quality: 3.5", '{"length": 1'])
def test_what_cannot_be_read_is_refused(answer: str) -> None:
    with pytest.raises(rubric.Unreadable):
        rubric.read(answer, rubric.CRITERIA)


def test_a_single_criterion_may_be_a_bare_figure() -> None:
    assert rubric.read(" 4\n", ("rating",)) == {"rating": 4}
    with pytest.raises(rubric.Unreadable):
        rubric.read("7", ("rating",))


def group(*texts: str, status: str = "ok") -> Group:
    state = State("scripted:judge")
    [(episode, _)] = TASK.load("train")
    edits = tuple(
        SelfEdit(
            f"tides/{n}", "tides", (), actions=(Completion(Request(state, "?"), text),), status=status, reason="why"
        )
        for n, text in enumerate(texts)
    )
    return Group(EditAsk(episode, state, len(texts), 0), edits)


def scored(folder: Path, lm: ScriptedLM, mine: Group, **settings: object) -> tuple[Reward, ...]:
    reward = Rubric(RubricSettings(**settings))  # type: ignore[arg-type]
    s = open_session(folder, TASK, {"judge": lm}, {"reward": ("reward", reward)})
    return s.reward([mine])[0].rewards


def test_the_sum_is_ours_and_the_judge_reads_passage_and_edit(tmp_path: Path) -> None:
    lm = ScriptedLM({"pulls hard": "length: 5\ndiversity: 4\nquality: 3\ncorrectness: 2\nTotal: 20"}, name="judge")
    [reward] = scored(tmp_path, lm, group("It pulls hard."))
    assert reward.value == 14
    assert reward.measures == {"length": 5, "diversity": 4, "quality": 3, "correctness": 2}
    assert "The moon pulls the sea." in str(lm.asked[0].prompt)


def test_an_unreadable_answer_is_asked_again_and_then_an_error(tmp_path: Path) -> None:
    def answer(request: Request, index: int) -> str:
        return "no idea" if "hopeless" in str(request.prompt) or len(lm.asked) == 2 else json.dumps(marks)

    marks = dict.fromkeys(rubric.CRITERIA, 2)
    lm = ScriptedLM(answer, name="judge")
    first, second = scored(tmp_path, lm, group("fine", "hopeless"))
    assert first.value == 8
    assert (second.value, second.status) == (None, "error")
    assert "no mark" in second.measures["reason"]
    assert len({request.seed for request in lm.asked}) == len(lm.asked)


def test_failed_and_lost_edits_are_not_put_to_the_judge(tmp_path: Path) -> None:
    lm = ScriptedLM({}, name="judge")
    [failed] = scored(tmp_path / "a", lm, group("x", status="failed"))
    [lost] = scored(tmp_path / "b", lm, group("x", status="error"))
    assert (failed.value, failed.status) == (0.0, "failed")
    assert (lost.value, lost.status) == (None, "error")
    assert not lm.asked


def test_marks_of_several_answers_are_averaged(tmp_path: Path) -> None:
    lm = ScriptedLM(lambda request, n: json.dumps(dict.fromkeys(rubric.CRITERIA, 2 + n)), name="judge")
    [reward] = scored(tmp_path, lm, group("x"), samples=3, temperature=1.0)
    assert reward.value == 4 * 3


def test_a_judge_that_follows_a_schema_is_given_one(tmp_path: Path) -> None:
    lm = ScriptedLM(lambda request, n: json.dumps(dict.fromkeys(rubric.CRITERIA, 1)), name="judge")
    scored(tmp_path, lm, group("x"))
    assert lm.asked[0].schema == rubric.schema(rubric.CRITERIA)


def test_the_lab_models_own_rating_is_a_rubric_of_one_criterion(tmp_path: Path) -> None:
    lm = ScriptedLM({"Rating:": "4"}, name="judge")
    lab = {"template": "harness_lab:templates/rate-1.toml", "prompt": "rate", "criteria": ("rating",)}
    assert scored(tmp_path, lm, group("x"), **lab)[0].value == 4


def test_wrong_settings_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="rubrik"):
        Rubric(RubricSettings(prompt="rubrik"))
    mine = tmp_path / "mine.toml"
    mine.write_text('[rubric]\nbase = "Judge {text}"\n', encoding="utf-8")
    with pytest.raises(UsageError, match="notes"):
        Rubric(RubricSettings(template=str(mine)))
