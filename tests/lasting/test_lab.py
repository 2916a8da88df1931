"""What the cures do on the embedded model, in chains that are short enough for a test."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

import harness

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
