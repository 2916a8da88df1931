"""Whole runs on the embedded model, small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from harness.registry.discover import Plugins
from harness.runs import config, runner

SMALL: dict[str, Any] = {
    "limit": 2,
    "validation": 1,
    "leaderboard": "",
    "beside": [],
    "editor": {"max_tokens": 48},
    "updater": {"epochs": 1},
    "policy": {"epochs": 1},
    "trainer": {"contexts": 1, "inner": {"contexts": 2, "samples": 3, "rounds": 2}},
}


@pytest.mark.slow
def test_a_loop_trains_a_policy_that_its_guard_measures(tmp_path: Path) -> None:
    done = runner.run({**SMALL, "method": "seal-grpo", "out": str(tmp_path)})
    assert done.complete
    rounds = [json.loads(path.read_text("utf-8")) for path in sorted((done.folder / "rounds").iterdir())]
    assert [one["policy_steps"] for one in rounds] == [1, 1]
    assert rounds[0]["start"]["kl"] == pytest.approx(0, abs=1e-6)  # of the start from itself
    assert abs(rounds[1]["kl"]) > 1e-4
    assert all(0 <= one["held_out"] <= 1 and one["validation"] is not None for one in rounds)
    assert all(0 < one["reward_mean"] < 1 for one in rounds)
    again = runner.resume(done.folder)
    assert again.ran == 0


def test_the_methods_differ_in_their_loop_alone() -> None:
    plugins = Plugins()
    slots = {}
    for name in ("seal-rloo", "seal-grpo", "seal-dpo", "seal-probability"):
        [arm] = config.resolve({"method": name, "beside": []}, plugins).arms
        slots[name] = arm.slots
        assert arm.slots["trainer"]["inner"]["samples"] == 5  # the preset's, beside the method's own 'use'
    for name, mine in slots.items():
        for slot in ("editor", "updater", "reward", "evaluator", "probability"):
            assert mine[slot] == slots["seal-grpo"][slot], (name, slot)
    losses = {name: mine["policy"].get("loss", "sft") for name, mine in slots.items()}
    assert losses == {"seal-rloo": "rloo", "seal-grpo": "grpo", "seal-dpo": "dpo", "seal-probability": "sft"}


@pytest.mark.slow
def test_a_report_of_a_reward(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "reward-report", "--reward", "trial-probability", "--contexts", "2", "--samples", "2", "--repeats", "2",
        "--truth-seeds", "2", "--out", str(tmp_path), "--set", "updater.epochs=2", "--set", "editor.max_tokens=48",
    ]  # fmt: skip
    with pytest.raises(SystemExit) as code:
        main([*arguments, "--json"])
    assert code.value.code == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["contexts"], report["candidates"], report["repeats"], report["truth_seeds"]) == (2, 2, 2, 2)
    assert set(report["reliability"]) == {"1", "3", "9"}
    assert report["random"] <= report["best"] + 1
    assert report["cpu_seconds"] > 0
    assert report["disagreements"][0]["text"]
    assert not list((tmp_path / next(tmp_path.iterdir()).name).glob("rounds"))
