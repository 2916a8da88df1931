"""The cost of a remote editor is shown before anything is sent."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.api import Task
from harness.registry.build import build
from harness.registry.discover import Plugins
from harness.runs.config import resolve
from harness.runs.spending import Bill, bills


def found(tmp_path: Path, **roles: object) -> list[Bill]:
    records = [
        {"title": f"Page {n}", "context": "x" * 400, "questions": [{"question": "?", "answer": "x"}]} for n in range(10)
    ]
    for n, record in enumerate(records):
        record["context"] = f"{n} {record['context']}"
    data = tmp_path / "p.json"
    data.write_text(json.dumps(records), encoding="utf-8")
    plugins = Plugins()
    given = {
        "method": "gpt-editor",
        "model": "lab",
        "preset": "paper-qwen2.5-7b-n1",
        "samples": 3,
        "beside": ["seal-no-rl"],
    }
    task = {"use": "squad", "data": str(data), "train": str(data), "subset": "shuffled"}
    config = resolve({**given, "task": task, "editor": {"max_tokens": 1000}, **roles}, plugins)
    built = build(plugins, Task, {"use": "squad", "data": str(data)}, "task")
    return bills(config, plugins, built.instance)


def test_tokens_and_money_of_the_edits_without_a_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "unused")
    [bill] = found(tmp_path)
    assert (bill.method, bill.model) == ("gpt-editor", "openai:gpt-4.1-2025-04-14")
    assert bill.calls == 10  # all ten pages: no row has an outer loop
    assert bill.completion_tokens == 10 * 3 * 1000
    assert 10 * 100 < bill.prompt_tokens < 10 * 250
    assert bill.usd == pytest.approx((2 * bill.prompt_tokens + 8 * bill.completion_tokens) / 1e6)
    assert "at most $" in bill.line()


def test_a_model_without_a_price_and_a_local_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "unused")
    [bill] = found(tmp_path, roles={"teacher": "openai:nobody-knows"})
    assert bill.usd is None
    assert "price unknown" in bill.line()
    assert found(tmp_path, roles={"teacher": "lab"}) == []
