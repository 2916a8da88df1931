"""If an endpoint omits the answer, or reports its own failure, that is never an empty answer of the model."""

from __future__ import annotations

import time
from typing import Any

import pytest

pytest.importorskip("openai")
pytest.importorskip("tenacity")

from harness.models.openai import read_answer
from tests.models.fake_endpoint import Reply, chat, serve
from tests.models.test_openai import ask, model


def reply(choice: Any, **fields: Any) -> Reply:
    return Reply(body={"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}, **fields})


def message(content: Any, finish: str = "stop") -> dict[str, Any]:
    return {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content}}


UNUSABLE = {
    "null": reply(message(None)),
    "null at length": reply(message(None, "length")),
    "null for a tool": reply(message(None, "tool_calls")),
    "parts": reply(message([{"type": "text", "text": "fine"}])),
    "number": reply(message(7)),
    "no message": reply({"index": 0, "finish_reason": "stop"}),
    "text of the other protocol": reply({"index": 0, "finish_reason": "stop", "text": "fine"}),
    "finish error": reply(message("half an ans", "error")),
    "finish abort": reply(message("half an ans", "abort")),
    "choice with an error": reply({**message(""), "error": {"code": 502, "message": "upstream"}}),
    "error body": Reply(body={"error": {"message": "upstream is gone", "code": 502}}),
    "error body with choices": reply(message(""), error={"message": "upstream is gone"}),
    "list": Reply(raw=b"[1, 2]"),
    "nested": Reply(raw=b"[" * 200_000),
    "huge number": Reply(raw=b'{"choices": ' + b"9" * 5000 + b"}"),
}


@pytest.mark.parametrize("bad", UNUSABLE.values(), ids=UNUSABLE)
def test_no_text_is_tried_again_then_an_error_with_its_reason(bad: Reply) -> None:
    with serve(lambda i, body: bad) as fake:
        lm = model(fake, retries=1)
        [[got]] = lm.generate([ask(lm)])
    assert (got.finish, got.text) == ("error", "")
    assert got.reason.endswith("(after 2 attempts)")
    assert len(got.reason) > len("(after 2 attempts)") + 5
    assert len(fake.bodies) == 2
    with serve(lambda i, body: chat("fine") if i else bad) as fake:
        lm = model(fake)
        assert lm.generate([ask(lm)])[0][0].text == "fine"


def test_an_empty_text_is_the_models() -> None:
    with serve(lambda i, body: chat("", finish="length")) as fake:
        lm = model(fake)
        [[got]] = lm.generate([ask(lm)])
    assert (got.finish, got.text, len(fake.bodies)) == ("length", "", 1)


def test_good_choices_beside_a_bad_one_are_kept() -> None:
    def answer(index: int, body: dict[str, Any]) -> Reply:
        good = chat(*(f"{index}-{at}" for at in range(body["n"])))
        assert good.body is not None
        if index == 0:
            good.body["choices"][1]["message"]["content"] = None
        return good

    with serve(answer) as fake:
        lm = model(fake)
        [got] = lm.generate([ask(lm, n=3, temperature=1.0)])
    assert [one.text for one in got] == ["0-0", "0-2", "1-0"]
    assert [body["n"] for body in fake.bodies] == [3, 1]


@pytest.mark.parametrize("where", ["slow", "endless"])
def test_the_deadline_is_of_the_whole_attempt(where: str) -> None:
    slow = chat("x" * 200)
    slow.trickle = 0.05
    if where == "endless":
        slow.raw, slow.body = b'{"choices": [' + b" " * 400, None
    with serve(lambda i, body: slow) as fake:
        lm = model(fake, timeout=0.4, retries=1)
        begun = time.monotonic()
        [[got]] = lm.generate([ask(lm)])
        assert time.monotonic() - begun < 2.5
    assert (got.finish, got.reason) == ("error", "timed out (after 2 attempts)")


def test_an_answer_is_read_by_its_protocol() -> None:
    found, faults = read_answer({"choices": [{"text": "a###b"}, {"message": {"content": "c"}}]}, "completions", ["###"])
    assert found == [("a", "stop", "")]
    assert len(faults) == 1
