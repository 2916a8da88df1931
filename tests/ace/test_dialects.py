"""What is read of a reflector's and a curator's answers; what cannot be read changes nothing, and is counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from harness_ace.dialects import TEMPLATE, Case, Json, Notes
from harness_ace.offline import Offline
from harness_ace.playbook import Add, Playbook, playbook_of

from harness.api import Request
from harness.errors import UsageError
from harness.evaluators.sampled import Sampled
from harness.session.service import SessionService
from harness.tasks.playbook import with_playbook
from harness.testing.scripted import ScriptedLM, ScriptedTask, open_session
from harness.updaters.memory import Memory

BOOK = Playbook().added([Add("sums", "Carry the one."), Add("others", "Read twice.")])
CASE = Case("q", "What is 1 + 1?", "3", False, 0)


def test_a_playbook_is_shown_by_sections_with_ids() -> None:
    assert Json(TEMPLATE).render(BOOK.bullets) == "## sums\n[b1] Carry the one.\n## others\n[b2] Read twice."
    assert Json(TEMPLATE).render(()) == ""


@pytest.mark.parametrize(
    ("right", "said"), [(True, "answer is right."), (False, "answer is wrong."), (None, "Nobody has said")]
)
def test_the_reflector_is_told_the_bit_and_no_reference(right: bool | None, said: str) -> None:
    prompt = str(Json(TEMPLATE).reflect(Case("q", "What?", "an answer", right, 0), BOOK, chat=True))
    assert said in prompt
    assert "[b1] Carry the one." in prompt
    told = {
        word
        for word in ("answer is right.", "answer is wrong.", "Nobody has said")
        if word in prompt.split("------")[-1].replace("whether the answer is right.", "")
    }
    assert told == {said}


def test_a_reflection_is_read_wherever_its_object_stands() -> None:
    text = (
        'Well. {"insight": " Add up. ", "bullets": [{"id": "[b1]", "tag": "harmful"}, {"id": "b2", "tag": "?"}, 3]} ok'
    )
    found = Json(TEMPLATE).reflection(text, CASE, BOOK)
    assert found is not None
    assert (found.insight, found.tags) == ("Add up.", {"b1": -1, "b2": 0})


@pytest.mark.parametrize("text", ["", "no object", "{", '{"insight": 3}', '["insight"]', '{"insight": "cut of'])
def test_a_broken_reflection_is_none(text: str) -> None:
    assert Json(TEMPLATE).reflection(text, CASE, BOOK) is None


def test_only_additions_are_applied_and_the_rest_is_counted() -> None:
    text = (
        '{"operations": [{"type": "ADD", "section": "sums", "content": "One."}, {"type": "add", "content": "Two."}, '
        '{"type": "DELETE", "id": "b1"}, {"type": "ADD", "content": ""}, "x"]}'
    )
    assert Json(TEMPLATE).delta(text) == ([Add("sums", "One."), Add("others", "Two.")], 3)
    assert Json(TEMPLATE).delta('{"operations": "none"}') is None
    assert Json(TEMPLATE).delta("{}") is None


def test_notes_of_the_same_meaning_are_one_bullet() -> None:
    notes = Notes()
    texts = ["rents gets.", "rents finds.", "rents loses.", "Kim gets."]
    adds = [add for text in texts if (found := notes.delta(text)) for add in found[0]]
    book = Playbook().added(adds)
    assert [(one.about, len(one.text.split())) for one in book.bullets] == [("rents", 2), ("rents", 2)]
    assert notes.reflection("none.", Case("q", "Kim has 3 nuts.", "", True, 0), book) is not None
    assert notes.reflection("nonsense", CASE, book) is None


def rule(request: Request, n: int) -> str:
    """Answers 7 with advice and 3 without; reflects and curates in JSON, broken at every second question."""
    prompt = str(request.prompt)
    if "You look back" in prompt:
        return '{"insight": "Say 7.", "bullets": [{"id": "b1", "tag": "helpful"}]}'
    if "You look after a playbook" in prompt:
        whole = '{"operations": [{"type": "ADD", "section": "numbers", "content": "Say 7."}, {"type": "MERGE"}]}'
        return whole if "of even" in prompt else whole[:-9]
    return "7" if "Say 7." in prompt else "3"


class Chatting(ScriptedTask):
    def prompt(self, query: Any, memory: Any, /, *, chat: bool) -> Any:
        return with_playbook((("user", query.text),), memory)


def opened(folder: Path) -> tuple[SessionService, ScriptedLM]:
    train = {f"q{n}": ("text", {f"What is {n} of {'even' if n % 2 == 0 else 'odd'}?": ["7"]}) for n in range(6)}
    model = ScriptedLM(rule, can=frozenset({"generate", "chat"}))
    slots = {"graded": ("evaluator", Sampled(Sampled.Settings(samples=1))), "playbook": ("updater", Memory())}
    task = Chatting({"train": train})
    roles = {"reflector": "@teacher", "curator": "@teacher"}
    return open_session(
        folder, task, {"teacher": model, "student": model}, slots, roles=roles, sees="context+queries"
    ), model


def test_an_instruct_model_keeps_its_playbook_in_json(tmp_path: Path) -> None:
    s, model = opened(tmp_path)
    [done] = Offline(Offline.Settings(reflections=1)).run(s.sealed)
    book = playbook_of(s.roles["student"].memory)
    assert [one.text for one in book.bullets] == ["Say 7."]
    assert book.bullets[0].helpful > 0
    assert done.metrics["unread"] == 3, "every second delta was broken, and changed nothing"
    assert done.metrics["ignored"] == 3
    assert done.metrics["reflections"] == 6
    assert s.roles["teacher"].memory == {}, "the reflector has no playbook of its own"
    texts = [text for request in model.asked for _, text in request.prompt]
    assert any("## numbers\n[b1] Say 7." in text for text in texts)


def test_a_base_model_has_no_such_prompts() -> None:
    with pytest.raises(UsageError, match="no 'base' form"):
        Json(TEMPLATE).reflect(CASE, BOOK, chat=False)


def test_a_playbook_goes_before_a_question_in_either_form() -> None:
    memory = {"playbook": {"text": "Be brief.", "bullets": []}}
    assert with_playbook("Q?", memory) == "Be brief.\n\nQ?"
    assert with_playbook((("user", "Q?"),), memory) == (("system", "Be brief."), ("user", "Q?"))
    turns = (("system", "You count."), ("user", "Q?"))
    assert with_playbook(turns, memory) == (("system", "You count.\n\nBe brief."), ("user", "Q?"))
    for nothing in ({}, {"playbook": {"text": ""}}, {"passage": "x"}):
        assert with_playbook(turns, nothing) == turns
