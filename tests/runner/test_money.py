"""What a run pays: the limit holds across resumes and threads, and nothing that was paid for is paid again."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("openai")
pytest.importorskip("tenacity")

import harness
from harness.api import Request
from harness.books.ledger import Ledger
from harness.errors import Damaged, HarnessError, RunError, UsageError
from harness.models.openai import OpenAIModel, OpenAISettings
from harness.models.prices import price_of
from harness.runs.dry_run import make_plan
from harness.testing import ScriptedTask, open_session
from tests.models.fake_endpoint import Fake, Reply, chat, failure, serve

PRICE = 0.15
QUESTIONS = 30


def config(folder: Path, fake: Fake, **model: Any) -> dict[str, Any]:
    """A control that asks a remote model every question, at $0.15 per call."""
    asked: list[Any] = [{"question": f"Question {n}?", "answer": f"answer {n}"} for n in range(QUESTIONS)]
    data = folder / "pages.json"
    data.write_text(json.dumps([{"title": "Page", "context": "A page.", "questions": asked}]), encoding="utf-8")
    others = {name: folder / f"{name}.json" for name in ("train", "validation")}
    for name, path in others.items():
        path.write_text(json.dumps([{"title": name, "context": f"For {name}.", "questions": asked[:1]}]))
    table = {"use": "openai", "path": "m-1", "base_url": fake.url, "key_env": "", "retries": 0, "input_price": 150.0,
             "output_price": 0.0, **model}  # fmt: skip
    return {"method": "none", "model": table, "beside": [], "out": str(folder / "runs"), "leaderboard": "",
            "evaluator": {"use": "closed-book", "judge": "contains"},
            "task": {"use": "squad", "data": str(data), "subset": "file-order",
                     **{name: str(path) for name, path in others.items()}}}  # fmt: skip


def paid(*texts: str, **fields: Any) -> Reply:
    reply = chat(*(texts or ("answer 1",)), prompt_tokens=1000, completion_tokens=0)
    assert reply.body is not None
    reply.body = {**reply.body, **fields}
    reply.delay = 0.02
    return reply


def prompts(fake: Fake) -> Counter[str]:
    return Counter(str(body["messages"]) for body in fake.bodies)


def lives(given: Mapping[str, Any], count: int) -> list[str]:
    """Run and resume until done, at most ``lives`` times; returns what each process said when it stopped."""
    said = []
    try:
        harness.run(given)
    except HarnessError as error:
        said.append(str(error))
    [folder] = Path(given["out"]).iterdir()
    for _ in range(count - 1):
        try:
            harness.resume(folder)
        except HarnessError as error:
            said.append(str(error))
    return said


def test_the_limit_holds_over_resumes_and_at_the_default_concurrency(tmp_path: Path) -> None:
    with serve(lambda i, body: paid()) as fake:
        said = lives({**config(tmp_path, fake), "max_cost": 0.3}, 5)
        assert len(fake.bodies) == 2, "two calls come to the limit"
        assert len(said) == 4, "the first life ends with what was answered, every later one at once"
        assert all("max_cost of $0.30 reached ($0.30 spent)" in one for one in said)
        [folder] = (tmp_path / "runs").iterdir()
        assert not harness.resume(folder, max_cost=1.0).complete
        with pytest.raises(HarnessError, match=r"\$1.00 reached"):
            harness.resume(folder)
        assert len(fake.bodies) * PRICE <= 1.0 + PRICE
        done = harness.resume(folder, max_cost=100.0)
    assert done.complete
    assert len(fake.bodies) == QUESTIONS
    assert max(prompts(fake).values()) == 1, "nothing is paid twice"
    assert done.result.rows[0].costs["usd"] == pytest.approx(QUESTIONS * PRICE)


def test_what_was_answered_before_a_kill_is_not_paid_again_and_what_was_in_flight_counts(tmp_path: Path) -> None:
    def answer(index: int, body: dict[str, Any]) -> Reply:
        reply = paid()
        reply.delay = 30.0 if 14 <= index < 22 else 0.02
        return reply

    with serve(answer) as fake:
        given = config(tmp_path, fake)
        code = "import json, sys, harness; harness.run(json.loads(sys.argv[1]))"
        process = subprocess.Popen([sys.executable, "-c", code, json.dumps(given)], env={**os.environ})
        until = time.monotonic() + 60
        while len(fake.bodies) < 22 and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(0.3)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert len(fake.bodies) == 22
        [folder] = (tmp_path / "runs").iterdir()
        done = harness.resume(folder)
    assert done.complete
    assert len(fake.bodies) == QUESTIONS + 8, "only the eight that brought nothing are asked again"
    [note] = [note for note in done.result.rows[0].notes if "brought no answer" in note]
    told = re.match(r"openai:m-1: \$(\d+\.\d+) spent in all, at most \$", note)
    assert told, note
    # A call whose answer never arrived is charged by its length, at the rate of the others.
    assert float(told[1]) == pytest.approx((QUESTIONS + 8) * PRICE, rel=0.05)
    assert done.result.rows[0].costs["usd"] == pytest.approx(QUESTIONS * PRICE)


def test_samples_that_were_paid_for_stay_when_a_later_call_fails(tmp_path: Path) -> None:
    broken = [True]
    with serve(lambda i, body: failure(500) if broken[0] and i == 3 else paid(f"sample {i}")) as fake:
        settings = OpenAISettings(
            path="m-1", base_url=fake.url, key_env="", retries=0, input_price=150.0, output_price=0
        )

        def life() -> tuple[list[str], float]:
            model = OpenAIModel(settings)
            s = open_session(tmp_path, ScriptedTask({}), {"teacher": model, "student": model}, {})
            [found] = s.generate([Request(s.roles["teacher"], "Say.", n=5, temperature=1.0)])
            spent = s.journal.ledger.accounts()["openai:m-1"].spent
            s.journal.close()
            return [one.text for one in found], spent

        assert life() == ([""] * 5, pytest.approx(3 * PRICE))
        broken[0] = False
        assert life() == ([f"sample {n}" for n in (0, 1, 2, 4, 5)], pytest.approx(5 * PRICE))
        assert life()[1] == pytest.approx(5 * PRICE)
    assert [body["n"] for body in fake.bodies] == [5, 4, 3, 2, 2, 1]


def test_another_model_than_asked_is_a_warning(tmp_path: Path) -> None:
    with serve(lambda i, body: paid(model="m-1-2026-01-31")) as fake:
        dated = harness.run(config(tmp_path, fake))
    assert not [note for note in dated.result.rows[0].notes if "answered" in note]
    (tmp_path / "other").mkdir()
    with serve(lambda i, body: paid(model="m-0-small" if i % 2 else "m-1")) as fake:
        other = harness.run(config(tmp_path / "other", fake))
    [note] = [note for note in other.result.rows[0].notes if "answered" in note]
    assert note == "warning: 'm-1' was asked, and 'm-0-small' (15 calls) answered"


# --- before anything is paid ---

PAID = """
from harness import hookimpl
from harness.api import Model

@hookimpl
def harness_models():
    return {"dear": "dear:Dear", "around": "dear:Around"}

class Dear(Model):
    base, can = "dear:1", frozenset({"generate", "chat"})
    def __init__(self, weights):
        raise SystemError("was made")
    def generate(self, asks):
        raise SystemError("was asked")

class Around(Dear):
    nested = {"inner": "model"}
    local = True
    def __init__(self, inner, weights):
        raise SystemError("was made")
"""


@pytest.mark.parametrize("model", ["dear", {"use": "around", "inner": "dear"}, "openai"])
def test_a_dry_run_asks_nobody(tmp_path: Path, model: Any) -> None:
    plugin = tmp_path / "dear.py"
    plugin.write_text(PAID)
    with serve(lambda i, body: paid()) as fake:
        given = config(tmp_path, fake)
        given["model"] = given["model"] if model == "openai" else model
        plan = make_plan(given, [plugin], [])
        assert plan.seconds is None
        assert plan.work["none"].answers == QUESTIONS
        assert not fake.bodies


def test_nor_a_judge_and_it_misses_a_key_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with serve(lambda i, body: paid()) as fake:
        given = config(tmp_path, fake)
        official = {**given, "model": {"use": "openai", "path": "gpt-4.1"}}
        judged = {**given, "judge": "openai:gpt-4.1"}
        for missing in (official, judged):
            with pytest.raises(UsageError, match="OPENAI_API_KEY' is not set"):
                make_plan(missing, [], [])
        monkeypatch.setenv("OPENAI_API_KEY", "nothing")
        assert make_plan({**judged, "model": "lab"}, [], []).seconds is None
        assert not fake.bodies


def test_a_judge_is_of_the_runs_ledger_over_all_its_lives(tmp_path: Path) -> None:
    """500,000 tokens a verdict: $1 each at the price of gpt-4.1. Every life is told of what the others spent."""

    def answer(index: int, body: dict[str, Any]) -> Reply:
        if body["model"] == "gpt-4.1":
            reply = chat("yes", prompt_tokens=500_000, completion_tokens=0)
            reply.delay = 0.02
            return reply
        return chat("an answer", prompt_tokens=10, completion_tokens=0)

    with serve(answer) as fake:
        given = config(tmp_path, fake)
        given["evaluator"] = {**given["evaluator"], "judge": f"openai:gpt-4.1@{fake.url}", "max_judge_cost": 3.0,
                              "judge_cache": str(tmp_path / "verdicts")}  # fmt: skip
        said = lives(given, 3)
        judged = [body for body in fake.bodies if body["model"] == "gpt-4.1"]
        assert len(judged) == 3, "the limit is one of the run, not of each life"
        [folder] = (tmp_path / "runs").iterdir()
        one = harness.resume(folder).result.rows[0]
        assert not said
        assert (one.errors, one.scored) == (QUESTIONS - 3, 3), "what could not be graded has no value"
        done = harness.resume(folder, max_cost=100.0)
        judged = [body for body in fake.bodies if body["model"] == "gpt-4.1"]
    assert done.complete
    assert len(judged) == QUESTIONS, "no verdict is paid twice"
    assert any("graded for $30.00" in note for note in done.result.rows[0].notes)


KEY = "sk-proj-0123456789abcdefABCDEF"
PASTED = [
    {"key_env": KEY},
    {"key_env": "gsk_0123456789abcdefABCDEFGH"},
    {"key_env": "a0123456789abcdefABCDEF012345"},
    {"base_url": f"https://user:{KEY}@example.org/v1"},
    {"base_url": f"https://example.org/v1?api_key={KEY}"},
    {"base_url": f"https://example.org/{KEY}/v1"},
    {"base_url": "example.org/v1"},
    {"body": {"api_key": KEY}},
    {"path": KEY},
    {"input_price": -1.0},
    {"output_price": 1e7},
    {"max_cost": -0.5},
]


@pytest.mark.parametrize("setting", PASTED, ids=lambda setting: str(next(iter(setting))))
def test_keys_and_prices_that_cannot_be_meant_are_refused_and_never_written(
    tmp_path: Path, setting: dict[str, Any]
) -> None:
    with serve(lambda i, body: paid()) as fake:
        given = config(tmp_path, fake, **setting)
        with pytest.raises(UsageError) as caught:
            harness.run(given)
    assert "\n" not in str(caught.value)
    assert "0123456789abcdef" not in str(caught.value)
    assert not (tmp_path / "runs").exists(), "nothing was written"


@pytest.mark.parametrize("price", ["-1", "1e9", "nan", "true"])
def test_prices_of_a_table_that_cannot_be_meant(tmp_path: Path, price: str) -> None:
    table = tmp_path / "prices.toml"
    table.write_text(f"[models]\nm-1 = {{ input = {price}, output = 1 }}\n")
    with pytest.raises(UsageError, match=r"prices\.toml"):
        price_of("m-1", str(table))


# --- the ledger itself ---


def test_a_call_alone_may_go_over_the_limit_by_its_own_price_and_no_further() -> None:
    ledger = Ledger()
    entry = ledger.reserve("m", "a", 0.1, limit=0.3)
    ledger.settle("m", "a", entry, 0.2, completions=[{}])
    ledger.settle("m", "b", ledger.reserve("m", "b", 0.2, limit=0.3), 0.4, completions=[{}])
    with pytest.raises(RunError, match="reached"):
        ledger.reserve("m", "c", 0.0, limit=0.3)
    ledger.reserve("other", "c", 1.0, limit=0.3)


def test_an_entry_that_was_changed_is_named(tmp_path: Path) -> None:
    import sqlite3

    from harness.books.journal import Journal
    from harness.books.verify import verify

    journal = Journal(tmp_path)
    entry = journal.ledger.reserve("m", "a", 0.1)
    journal.ledger.settle("m", "a", entry, 0.1, "m", [{"text": "good"}])
    assert journal.ledger.answers("a") == [{"text": "good"}]
    journal.close()
    with sqlite3.connect(tmp_path / "journal.sqlite") as database:
        database.execute("UPDATE ledger SET completions = replace(completions, 'good', 'evil')")
    database.close()
    assert [one.what for one in verify(tmp_path).damaged] == ["entry 1 of the ledger is not what was written"]
    for _ in range(2):
        with pytest.raises(Damaged, match="entry 1 of the ledger"):
            Journal(tmp_path)
    mended = Journal(tmp_path, recompute=True)
    assert mended.ledger.answers("a") == []
    mended.close()
