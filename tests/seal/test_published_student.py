"""The published way: the trained policy itself learns its edits and is asked (``roles.student = "@teacher"``)."""

from __future__ import annotations

import json
from pathlib import Path

import harness


def test_the_policy_learns_on_top_of_what_the_outer_loop_taught_it(tmp_path: Path) -> None:
    """Its row says so and is in a group of its own, apart from the control that starts from the untouched model."""
    done = harness.run({
        "method": "seal", "preset": "quick", "model": "lab", "beside": ["none"], "limit": 2,
        "roles": {"student": "@teacher"},
        "trainer": {"contexts": 2, "samples": 2}, "editor": {"max_tokens": 48},
        "updater": {"epochs": 2}, "policy": {"epochs": 2},
        "out": str(tmp_path), "leaderboard": "",
    })  # fmt: skip
    assert done.complete
    started = {row.method: row.conditions["start_model"] for row in done.result.rows}
    assert started == {"seal": "policy", "none": "model"}
    lines = (done.folder / "history" / "seal-0.jsonl").read_text("utf-8").splitlines()
    updates = [line for line in map(json.loads, lines) if line["kind"] == "update"]
    tested = [line["adapters"] for line in updates if line["job"].startswith("test/")]
    assert tested == [1, 1], "each test page is learnt on top of the policy's adapter"
