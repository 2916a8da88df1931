"""Active reading: strategies are thought of or given, done in turn, and cut to a number of sequences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness_reading.active import ActiveReading, read_strategies

from harness.api import EditAsk, Example, Recipe, Request, SelfEdit
from harness.testing import EditorContract, ScriptedLM, ScriptedTask, open_session


class TestActiveReading(EditorContract):
    component = ActiveReading
    answers = "- Draw a map.\n- Tell a story."


def rule(request: Request, n: int) -> str:
    prompt = str(request.prompt)
    if "each on a line of its own" in prompt:
        return "Ways to study it:\n1. Draw a map.\n- Tell a story.\n\n* Draw a map.\n2) Quiz yourself."
    if "Draw a map" in prompt:
        return "North is up.\nSouth is down."
    if "Tell a story" in prompt:
        return ""
    return "Asked and answered.\nAsked again.\nAnd again."


def proposed(folder: Path, **settings: Any) -> tuple[SelfEdit, ScriptedLM]:
    model = ScriptedLM(rule)
    task = ScriptedTask({"train": {"page": ("the text", {})}, "validation": {}, "test": {}})
    slots = {"editor": ("editor", ActiveReading(ActiveReading.Settings(**settings)))}
    s = open_session(folder, task, {"teacher": model}, slots)
    [group] = s.propose("teacher", [EditAsk(s.episodes("train")[0], s.roles["teacher"], 1, 0)])
    return group.edits[0], model


def test_a_list_is_read_without_its_form() -> None:
    text = "Here are some ways:\n1. Draw a map.\n(2) Tell it.\n\n- Draw a map.\n• Quiz.\n---\n"
    assert read_strategies(text) == ["Draw a map.", "Tell it.", "Quiz."]


def test_every_strategy_is_done_and_an_empty_text_is_left_out(tmp_path: Path) -> None:
    edit, model = proposed(tmp_path)
    assert [str(one.args["text"])[:5] for one in edit.data if isinstance(one, Recipe) and one.args] == [
        "North",
        "Asked",
    ]
    assert edit.data[-1] == Recipe("passage")
    assert len(edit.actions) == 4, "the list, and three texts"
    assert len({request.seed for request in model.asked}) == 4


def test_the_first_strategies_are_done(tmp_path: Path) -> None:
    edit, _ = proposed(tmp_path, strategies=1)
    assert len(edit.actions) == 2


def test_sequences_are_taken_from_the_texts_in_turn(tmp_path: Path) -> None:
    edit, _ = proposed(tmp_path, sequences=3)
    assert [one.target for one in edit.data if isinstance(one, Example)] == [
        "North is up.", "Asked and answered.", "South is down."
    ]  # fmt: skip


def test_given_strategies_are_the_prompts_of_a_file(tmp_path: Path) -> None:
    edit, model = proposed(tmp_path, given=("implications", "self-qa"))
    assert len(model.asked) == len(edit.actions) == 2
    assert "list what follows" in str(model.asked[0].prompt)
    texts = [str(one.args["text"]) for one in edit.data if isinstance(one, Recipe) and one.args]
    assert texts[1].startswith("Question 1: "), "the cue that a text continues is put back"


def test_the_control_does_the_first_strategy_as_often_as_there_are_strategies(tmp_path: Path) -> None:
    _, model = proposed(tmp_path, one_way=True)
    texts = model.asked[1:]
    assert len(texts) == 3
    assert all("Draw a map" in str(request.prompt) for request in texts)
    assert len({request.seed for request in texts}) == 3


def test_no_strategy_is_the_methods_failure(tmp_path: Path) -> None:
    model = ScriptedLM(lambda request, n: "12345")
    task = ScriptedTask({"train": {"page": ("the text", {})}, "validation": {}, "test": {}})
    s = open_session(
        tmp_path, task, {"teacher": model}, {"editor": ("editor", ActiveReading(ActiveReading.Settings()))}
    )
    [group] = s.propose("teacher", [EditAsk(s.episodes("train")[0], s.roles["teacher"], 1, 0)])
    assert group.edits[0].status == "failed"
    assert "no strategy" in group.edits[0].reason
