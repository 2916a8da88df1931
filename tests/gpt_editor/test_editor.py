"""JSON answers as edits, and the record of what each edit cost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from harness_gpt_editor.editor import SCHEMA, Structured, StructuredSettings, lines_of
from hypothesis import given
from hypothesis import strategies as st

from harness.api import EditAsk, EditFailed, Group, Recipe, Request, State
from harness.errors import RunError, UsageError
from harness.models.openai import OpenAIModel, OpenAISettings
from harness.testing import ScriptedLM, ScriptedTask, open_session
from harness.testing.server import serve

TASK = ScriptedTask({"train": {"tides": ("The moon pulls.", {"what pulls?": ["the moon"]})}})
CHAT = frozenset({"generate", "chat", "schema"})


def proposed(folder: Path, lm: object, n: int = 1, **settings: object) -> Group:
    editor = Structured(StructuredSettings(**settings))  # type: ignore[arg-type]
    s = open_session(folder, TASK, {"teacher": lm}, {"editor": ("editor", editor)})
    [episode] = s.episodes("train")
    return s.propose("teacher", [EditAsk(episode, s.roles["teacher"], n, 7)])[0]


@given(st.lists(st.text(max_size=20)), st.integers(0, 200))
def test_a_cut_answer_keeps_the_lines_that_are_whole(lines: list[str], cut: int) -> None:
    text = json.dumps({"lines": lines})
    whole = lines_of(text, cut=False)
    kept = lines_of(text[:cut], cut=True)
    assert kept == whole[: len(kept)]
    assert all(line == " ".join(line.split()) != "" for line in whole)


@pytest.mark.parametrize("answer", ["", "no", "[]", '{"lines": "x"}', '{"lines": [1]}', '{"lines": ["a"'])
def test_an_answer_of_another_form_fails_the_edit(answer: str) -> None:
    with pytest.raises(EditFailed, match="not the JSON"):
        lines_of(answer, cut=False)


def test_a_model_that_follows_a_schema_is_given_one(tmp_path: Path) -> None:
    lm = ScriptedLM(lambda r, n: json.dumps({"lines": [f"fact {n}", "more\nof it"]}), can=CHAT)
    group = proposed(tmp_path, lm, n=2)
    assert lm.asked[0].schema == SCHEMA
    assert "JSON" in lm.asked[0].prompt[-1][1]
    assert [edit.data[0] for edit in group.edits] == [
        Recipe("lines", {"text": f"fact {n}\nmore of it"}) for n in (0, 1)
    ]
    assert group.edits[0].data[1] == Recipe("passage")


def test_plain_text_is_taken_where_no_schema_is_followed_or_wanted(tmp_path: Path) -> None:
    for place, can, settings in (("a", {"generate"}, {}), ("b", CHAT, {"structured": "never"})):
        lm = ScriptedLM({"": " one\ntwo "}, can=frozenset(can))
        group = proposed(tmp_path / place, lm, **settings)
        assert lm.asked[0].schema is None
        assert group.edits[0].data[0] == Recipe("lines", {"text": "one\ntwo"})


def test_an_answer_that_teaches_nothing_is_a_failed_edit_with_its_reason(tmp_path: Path) -> None:
    lm = ScriptedLM(lambda r, n: '{"lines": []}' if n == 0 else "I am sorry", can=CHAT)
    empty, sorry = proposed(tmp_path, lm, n=2).edits
    assert (empty.status, empty.reason) == ("failed", "the edit is empty")
    assert (sorry.status, sorry.reason) == ("failed", "the answer is not the JSON that was asked for")


def paid(url: str, **settings: object) -> OpenAIModel:
    usual = {"path": "m", "base_url": url, "key_env": "", "api": "completions", "schema": "none", "input_price": 1.0}
    return OpenAIModel(OpenAISettings(**{**usual, "output_price": 4.0, **settings}))  # type: ignore[arg-type]


def test_tokens_and_money_are_booked_and_add_up(tmp_path: Path) -> None:
    with serve(ScriptedLM({"": "a line"})) as server:
        group = proposed(tmp_path, paid(server.url), n=3)
    costs = [edit.actions[0].cost for edit in group.edits]
    usd = sum(1e-6 * c["prompt_tokens"] + 4e-6 * c["completion_tokens"] for c in costs)
    assert sum(c["usd"] for c in costs) == pytest.approx(usd)
    assert sum(c["completion_tokens"] for c in costs) == 3 * len("a line")


def test_the_limit_stops_the_run_before_more_is_spent(tmp_path: Path) -> None:
    with serve(ScriptedLM({"": "a line"})) as server:
        model = paid(server.url, max_cost=1e-9)
        proposed(tmp_path / "first", model)
        with pytest.raises(RunError, match="max_cost"):
            model.generate([Request(State(model.base), "More.")])
        assert len(server.calls) == 1


def test_a_price_is_needed_for_a_limit() -> None:
    with pytest.raises(UsageError, match="max_cost needs a price"):
        paid("http://127.0.0.1:9/v1", max_cost=1.0, input_price=None)


def test_samples_of_one_prompt_are_separate_answers(tmp_path: Path) -> None:
    with serve(ScriptedLM(lambda r, n: f"sample {n}")) as server:
        group = proposed(tmp_path, paid(server.url), n=4)
    assert [edit.actions[0].text for edit in group.edits] == [f"sample {n}" for n in range(4)]
