"""A language model as judge, against an endpoint in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.errors import UsageError
from harness.judges.base import Answer, Budget
from harness.judges.load import load
from harness.judges.remote import RemoteJudge, prompt, read_grade
from harness.models.openai import OpenAIModel, OpenAISettings
from harness.registry import prompt_files
from tests.models.fake_endpoint import Reply, chat, failure, serve

pytest.importorskip("openai", reason="the extra `openai` is not installed")


def _answers(count: int) -> list[Answer]:
    return [Answer(f"Which is number {n}?", (f"gold {n}",), f"answer {n}") for n in range(count)]


def _judge(url: str, budget: Budget, **settings: Any) -> RemoteJudge:
    model = OpenAIModel(OpenAISettings(path="m", base_url=url, retries=2, backoff=0.01, **settings))
    return RemoteJudge("m", budget, model, url)


def _by_number(_: int, body: dict[str, Any]) -> Reply:
    asked = body["messages"][-1]["content"]
    return chat("Yes." if "number 0" in asked or "number 2" in asked else "no")


def test_verdicts_come_back_in_order_and_once_a_triple() -> None:
    with serve(_by_number) as endpoint:
        found = _judge(endpoint.url, Budget()).grade([*_answers(3), *_answers(1)])
        assert [one.value for one in found] == [1.0, 0.0, 1.0, 1.0]
        assert len(endpoint.bodies) == 3
        assert endpoint.bodies[0]["temperature"] == 0


def test_an_empty_answer_is_wrong_without_a_call() -> None:
    with serve(_by_number) as endpoint:
        assert _judge(endpoint.url, Budget()).grade([Answer("q", ("g",), " ")])[0].value == 0.0
        assert endpoint.bodies == []


def test_the_cache_is_keyed_by_what_shapes_the_call(tmp_path: Path) -> None:
    with serve(_by_number) as endpoint:
        budget = Budget(cache=tmp_path)
        first = _judge(endpoint.url, budget).grade(_answers(3))
        assert _judge(endpoint.url, budget).grade(_answers(3)) == first
        assert len(endpoint.bodies) == 3
        changed = [Answer("Which is number 0?", ("another gold",), "answer 0")]
        _judge(endpoint.url, budget).grade(changed)
        assert len(endpoint.bodies) == 4
        for path in tmp_path.rglob("*.json"):
            path.write_text("{")
        assert _judge(endpoint.url, budget).grade(_answers(3)) == first
        assert len(endpoint.bodies) == 7


def test_failures_are_errors_and_are_not_cached(tmp_path: Path) -> None:
    down = True

    def answer(number: int, body: dict[str, Any]) -> Reply:
        return failure(500) if down and "number 1" in body["messages"][-1]["content"] else _by_number(number, body)

    with serve(answer) as endpoint:
        found = _judge(endpoint.url, Budget(cache=tmp_path)).grade(_answers(2))
        assert [(one.value, one.status) for one in found] == [(1.0, "ok"), (None, "error")]
        down = False
        again = _judge(endpoint.url, Budget(cache=tmp_path)).grade(_answers(2))
        assert [one.value for one in again] == [1.0, 0.0]


@pytest.mark.parametrize(
    ("reply", "value", "status"),
    [
        ("yes", 1.0, "ok"),
        ("No.", 0.0, "ok"),
        ("Yes and no", None, "unparsed"),
        ("Perhaps", None, "unparsed"),
        ("", None, "unparsed"),
        ("nothing known", None, "unparsed"),
    ],
)
def test_an_unclear_verdict_is_unparsed(reply: str, value: float | None, status: str) -> None:
    found = read_grade(reply)
    assert (found.value, found.status) == (value, status)


def test_the_budget_of_calls_is_kept() -> None:
    with serve(_by_number) as endpoint:
        found = _judge(endpoint.url, Budget(max_calls=2)).grade(_answers(5))
        assert len(endpoint.bodies) == 2
        assert [one.status for one in found] == ["ok", "ok", "error", "error", "error"]
        assert "--max-judge-calls" in found[-1].reason


def test_the_budget_of_money_is_kept() -> None:
    with serve(_by_number) as endpoint:
        dear = {"input_price": 1e5, "output_price": 1e5, "max_cost": 1.0, "concurrency": 1}
        found = _judge(endpoint.url, Budget(), **dear).grade(_answers(3))
        assert len(endpoint.bodies) == 1
        assert [one.status for one in found] == ["ok", "error", "error"]
        assert "max_cost" in found[-1].reason


def test_a_judge_can_be_asked_by_a_template_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('[judge.instruct]\nuser = "{question} | {gold} | {answer} ?"\n')
    asked = prompt(Answer("Q", ("a", "b"), "A"), prompt_files.load(str(file), "judge", ("question", "gold", "answer")))
    assert asked == (("user", "Q | a or b | A ?"),)
    with pytest.raises(UsageError, match="is not asked in words"):
        load("exact", template=str(file))
