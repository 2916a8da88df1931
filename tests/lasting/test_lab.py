"""What the cures do on the embedded model, in chains that are short enough for a test."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

import harness
from harness.evidence.view.read import read_run

SIZE = 12


def figures(folder: Path, method: str, **more: Any) -> dict[str, float]:
    """Table -> its mean, after two sequences of six edits of pages of seed 3."""
    config = {
        "method": method, "model": "lab", "beside": [], "out": str(folder), "leaderboard": "", "seed": 3,
        "limit": SIZE, "task": {"use": "lab-facts", "seed": 3, "test": SIZE},
        "also": {"known": {"task": {"use": "lab-known", "test": 12, "seed": 3}}},
        **more, "protocol": {"length": 6, "every": 6, "neutral": 4, **more.get("protocol", {})},
    }  # fmt: skip
    found = harness.run(config).result
    out = {}
    for table in found.tables:
        last = table.at(table.steps[-1]) if table.steps else table
        values = [value for value in last.rows[0].scores[0] if value is not None]
        out[table.name] = fmean(values)
    return out


@pytest.mark.slow
def test_the_null_space_keeps_earlier_edits_and_what_was_known(tmp_path: Path) -> None:
    """At the same steps, with a new adapter for every edit in both."""
    free = figures(tmp_path / "free", "chain", protocol={"start_as": "fold"})
    held = figures(tmp_path / "held", "null-space")
    assert held["steps"] == free["steps"]
    assert held["bwt"] > free["bwt"] + 10
    assert held["rest.known"] > free["rest.known"] + 0.2
    assert held["learning"] > free["learning"] / 2


@pytest.mark.slow
def test_a_router_of_words_is_nearly_as_good_as_the_oracle(tmp_path: Path) -> None:
    oracle = figures(tmp_path / "oracle", "apart")
    routed = figures(tmp_path / "routed", "routed")
    merged = figures(tmp_path / "merged", "merged")
    assert routed["routed"] > 0.5
    assert oracle["acc"] >= routed["acc"] > oracle["acc"] / 2
    assert merged["acc"] < routed["acc"]


@pytest.mark.slow
def test_a_writer_is_paid_for_what_its_edits_teach_less_how_far_they_move_the_model(tmp_path: Path) -> None:
    """The outer loop from end to end, with the forecast in place of others: one update for each candidate."""
    config = {
        "method": "seal-retention", "preset": "quick", "model": "lab", "beside": [], "out": str(tmp_path),
        "leaderboard": "", "reward": {"forecast": 8, "weight": 0.3},
    }  # fmt: skip
    done = harness.run(config)
    assert done.complete
    assert {"learning", "acc", "bwt"} <= {table.name for table in done.result.tables}
    [first, *_] = [one for one in read_run(Path(done.folder)).rows["seal-retention"].rounds[0] if one["candidates"]]
    paid = [reward for one in first["candidates"] for reward in one["rewards"].values()]
    assert len(paid) >= 32, "those of the round, and what the guard holds out"
    for one in paid:
        assert one["value"] == pytest.approx(one["measures"]["gain"] - 0.3 * one["measures"]["kl"])
    moved = [one["measures"]["kl"] for one in paid]
    assert fmean(moved) > 0.05, "every update moves the model"
    assert max(moved) > 1.5 * min(moved), "and some more than others"
    assert first["updates"], "the writer has learnt from the best of them"
