"""The remote backend against an endpoint in this process: what is sent, how failures count, what it costs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.api import HarnessError, Request, State
from harness.models.prices import Price, price_of

pytest.importorskip("openai")
pytest.importorskip("tenacity")

from harness.models import endpoint
from harness.models.openai import OpenAIModel, OpenAISettings
from tests.models.fake_endpoint import Fake, Reply, chat, failure, serve

SECRET = "sk-test-0123456789abcdef"


def model(fake: Fake, **settings: Any) -> OpenAIModel:
    base: dict[str, Any] = {"path": "m-1", "base_url": fake.url, "backoff": 0.01, "retries": 2, "timeout": 5.0}
    return OpenAIModel(OpenAISettings(**{**base, **settings}))


def ask(lm: OpenAIModel, prompt: Any = "Say one.", **fields: Any) -> Request:
    return Request(State(lm.base), prompt, **fields)


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)


def test_request_and_answer() -> None:
    with serve(lambda i, body: chat("one", prompt_tokens=7, completion_tokens=3)) as fake:
        lm = model(fake, input_price=2.0, output_price=8.0, body={"user": "u"})
        turns = (("system", "Be brief."), ("user", "Say one."))
        [[got]] = lm.generate([ask(lm, turns, temperature=0.5, top_p=0.9, max_tokens=9, stop=("\n",), seed=3)])
    assert (got.text, got.finish) == ("one", "stop")
    assert got.cost == {"prompt_tokens": 7, "completion_tokens": 3, "usd": pytest.approx((7 * 2 + 3 * 8) / 1e6)}
    [body] = fake.bodies
    assert body["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say one."}]
    sent = {key: body[key] for key in ("model", "n", "temperature", "top_p", "max_tokens", "stop", "user")}
    assert sent == {
        "model": "m-1", "n": 1, "temperature": 0.5, "top_p": 0.9, "max_tokens": 9, "stop": ["\n"], "user": "u"
    }  # fmt: skip
    assert lm.can == {"generate", "schema", "chat"}
    assert lm.base == "openai:m-1"
    assert fake.keys == [f"Bearer {SECRET}"]


def test_first_calls_at_once_run_in_one_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client's connections belong to one event loop, and the first calls come from many threads."""
    started, real = [], asyncio.new_event_loop

    def slow() -> asyncio.AbstractEventLoop:
        time.sleep(0.1)
        started.append(real())
        return started[-1]

    endpoint._started_loop.cache_clear()
    monkeypatch.setattr(asyncio, "new_event_loop", slow)
    with serve(lambda i, body: chat(body["messages"][-1]["content"].upper())) as fake:
        lm = model(fake)
        rows = lm.generate([ask(lm, f"q{place}") for place in range(8)])
    assert [one.text for [one] in rows] == [f"Q{place}" for place in range(8)]
    assert len(started) == 1


def test_order_is_kept_when_answers_overtake() -> None:
    def answer(index: int, body: dict[str, Any]) -> Reply:
        text = body["messages"][-1]["content"]
        reply = chat(text.upper())
        reply.delay = 0.2 if text == "q0" else 0.0
        return reply

    with serve(answer) as fake:
        lm = model(fake, concurrency=4)
        got = lm.generate([ask(lm, f"q{i}") for i in range(8)])
    assert [completions[0].text for completions in got] == [f"Q{i}" for i in range(8)]


@pytest.mark.parametrize("honours_n", [True, False])
def test_n_samples_whether_or_not_the_server_honours_n(honours_n: bool) -> None:
    def answer(index: int, body: dict[str, Any]) -> Reply:
        count = body["n"] if honours_n else 1
        return chat(*(f"s{body['seed']}-{i}" for i in range(count)), prompt_tokens=10, completion_tokens=5 * count)

    with serve(answer) as fake:
        lm = model(fake)
        [got] = lm.generate([ask(lm, n=3, temperature=1.0)])
    assert len(got) == 3
    assert len({c.text for c in got}) == 3, "a repeated call must not repeat its seed"
    assert sum(c.cost["completion_tokens"] for c in got) == 15
    assert sum(c.cost["prompt_tokens"] for c in got) == 10 * len(fake.bodies)
    assert len(fake.bodies) == (1 if honours_n else 3)


@pytest.mark.parametrize(
    "bad",
    [
        failure(500, "boom"),
        failure(429, "slow down", retry_after="0"),
        Reply(raw=b'{"choices": [{"mess'),
        Reply(body={"choices": []}),
        Reply(body={"choices": ["text"]}),
        Reply(body={}),
        Reply(raw=b"\xff\xfe not text"),
    ],
    ids=["500", "429", "truncated", "no-choices", "malformed-choice", "no-field", "not-utf8"],
)
def test_transient_failures_are_retried(bad: Reply) -> None:
    with serve(lambda i, body: bad if i == 0 else chat("fine")) as fake:
        lm = model(fake)
        [[got]] = lm.generate([ask(lm)])
        assert got.text == "fine"
        assert len(fake.bodies) == 2


def test_retry_after_is_honoured_over_the_backoff() -> None:
    with serve(lambda i, body: failure(429, retry_after="1") if i == 0 else chat("fine")) as fake:
        lm = model(fake)
        lm.generate([ask(lm)])
    assert fake.starts[1] - fake.starts[0] >= 1.0


def test_timeout_is_retried_then_an_error_beside_what_was_answered() -> None:
    def answer(index: int, body: dict[str, Any]) -> Reply:
        reply = chat("fine")
        reply.delay = 1.0 if body["messages"][-1]["content"] == "slow" else 0.0
        return reply

    with serve(answer) as fake:
        lm = model(fake, timeout=0.2, retries=1)
        fast, slow, quick = lm.generate([ask(lm, "fast"), ask(lm, "slow", n=2), ask(lm, "quick")])
    assert (fast[0].text, quick[0].text) == ("fine", "fine")
    assert [(c.finish, c.reason) for c in slow] == [("error", "timed out (after 2 attempts)")] * 2


def test_nobody_listens() -> None:
    with serve(lambda i, body: chat("x")) as fake:
        lm = model(fake, retries=0)
    [[got]] = lm.generate([ask(lm)])
    assert got.finish == "error"
    assert got.reason.startswith(f"no connection to {fake.url}")


@pytest.mark.parametrize(
    ("reply", "finish", "reason"),
    [
        (failure(400, "This model's maximum context length is 256 tokens.", "x"), "failed", "context length"),
        (failure(400, "blocked", "content_filter"), "failed", "content filter"),
        (chat("half", finish="length"), "length", ""),
        (chat("bad", finish="content_filter"), "failed", "content filter"),
    ],
)
def test_the_methods_own_failures_are_completions(reply: Reply, finish: str, reason: str) -> None:
    with serve(lambda i, body: reply) as fake:
        lm = model(fake)
        [got] = lm.generate([ask(lm, n=2)])
    assert len(got) == 2
    assert all(c.finish == finish and c.reason.startswith(reason) for c in got)
    assert all(c.text == ("half" if finish == "length" else "") for c in got)


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (failure(401, f"Incorrect API key provided: {SECRET}"), r"refused the key \(HTTP 401\)"),
        (failure(404, "no such model"), "has no model 'm-1'"),
        (failure(429, "quota", "insufficient_quota"), "no credit left"),
    ],
)
def test_what_no_retry_mends_ends_the_run(reply: Reply, message: str) -> None:
    with serve(lambda i, body: reply) as fake:
        lm = model(fake, concurrency=1)
        with pytest.raises(HarnessError, match=message):
            lm.generate([ask(lm, f"q{i}") for i in range(5)])
    assert len(fake.bodies) == 1, "no call is sent after one that shows that none can work"


def test_the_key_appears_nowhere() -> None:
    leak = f"bad key {SECRET} (sk-ano***ther) in Bearer abc"
    with serve(lambda i, body: failure(500, leak)) as fake:
        lm = model(fake, retries=0)
        [[got]] = lm.generate([ask(lm)])
    assert got.finish == "error"
    assert got.reason.startswith("HTTP 500")
    shown = repr(got) + repr(lm.settings) + repr(vars(lm))
    assert SECRET not in shown
    assert "sk-" not in shown


def test_stop_texts_are_cut_where_the_server_leaves_them() -> None:
    with serve(lambda i, body: chat("one\ntwo###three")) as fake:
        lm = model(fake)
        [[got]] = lm.generate([ask(lm, stop=("###", "\n"))])
    assert got.text == "one"


def test_completions_api_continues_raw_text_and_refuses_turns() -> None:
    reply = Reply(body={"choices": [{"index": 0, "text": " Paris", "finish_reason": "stop"}]})
    with serve(lambda i, body: reply) as fake:
        lm = model(fake, api="completions")
        [[got]] = lm.generate([ask(lm, "The capital is")])
        with pytest.raises(HarnessError, match="takes raw text"):
            lm.generate([ask(lm, (("user", "hi"),))])
    assert got.text == " Paris"
    assert fake.bodies[0]["prompt"] == "The capital is"
    assert fake.bodies[0]["_path"] == "/v1/completions"
    assert "chat" not in lm.can


def test_schema_is_strict_only_where_it_may_be() -> None:
    closed = {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    with serve(lambda i, body: chat("{}")) as fake:
        lm = model(fake)
        lm.generate([ask(lm, schema=closed)])
        lm.generate([ask(lm, schema={"type": "object"})])
        plain = model(fake, schema="none")
        with pytest.raises(HarnessError, match="cannot follow a JSON schema"):
            plain.generate([ask(plain, schema=closed)])
    strict = [body["response_format"]["json_schema"]["strict"] for body in fake.bodies]
    assert strict == [True, False]
    assert fake.bodies[0]["response_format"]["json_schema"]["schema"] == closed


def test_max_cost_stops_in_a_resumable_state() -> None:
    with serve(lambda i, body: chat("x", prompt_tokens=1000, completion_tokens=0)) as fake:
        lm = model(fake, concurrency=1, max_cost=0.0025, input_price=1.0, output_price=1.0)
        got = lm.generate([ask(lm, f"q{i}") for i in range(6)])
        assert [(c.finish, c.reason[:8]) for [c] in got] == [
            *[("stop", "")] * 3,
            ("error", "openai:m"),
            *[("error", "not sent")] * 2,
        ]
        with pytest.raises(HarnessError, match=r"max_cost of \$0.00 reached"):
            lm.generate([ask(lm)])
    with serve(lambda i, body: chat("x")) as fake, pytest.raises(HarnessError, match="max_cost needs a price"):
        model(fake, max_cost=1.0)


def test_pace_spreads_the_calls() -> None:
    with serve(lambda i, body: chat("x")) as fake:
        lm = model(fake, concurrency=4, requests_per_minute=600)
        begun = time.monotonic()
        lm.generate([ask(lm, f"q{i}") for i in range(5)])
    assert time.monotonic() - begun >= 0.4


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"path": ""}, "needs a name"), ({"concurrency": 0}, "concurrency must be positive")],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(HarnessError, match=message):
        OpenAIModel(OpenAISettings(**{"path": "m", "base_url": "http://127.0.0.1:9/v1", **settings}))


def test_the_official_endpoint_needs_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(HarnessError, match="OPENAI_API_KEY' is not set"):
        OpenAIModel(OpenAISettings(path="gpt-4.1"))


def test_what_a_remote_model_cannot_do() -> None:
    with serve(lambda i, body: chat("x")) as fake:
        lm = model(fake)
        calls: list[Callable[[], Any]] = [
            lambda: lm.generate([Request(State(lm.base, ("digest",)), "x")]),
            lambda: lm.logprobs([(State(lm.base), "a", "b")]),
            lambda: lm.hidden([(State(lm.base), "a")], layer=0),
        ]
        for call in calls:
            with pytest.raises(HarnessError):
                call()
        assert not fake.bodies


def test_prices_are_dated_and_overridable(tmp_path: Path) -> None:
    assert price_of("gpt-4.1-2025-04-14") == price_of("gpt-4.1") == Price(2.0, 8.0)
    assert price_of("gpt-4.1-imaginary") is None
    own = tmp_path / "prices.toml"
    own.write_text('as_of = "2030-01-01"\n[models]\nm-1 = { input = 1, output = 2.5 }\n')
    assert price_of("m-1", str(own)) == Price(1.0, 2.5)
    own.write_text("[models]\nm-1 = 3\n")
    with pytest.raises(HarnessError, match=r"prices\.toml"):
        price_of("m-1", str(own))
