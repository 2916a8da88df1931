"""The whole method on the embedded model, small."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from harness.runs import runner

SMALL = {
    "limit": 2,
    "validation": 0,
    "leaderboard": "",
    "editor": {"max_tokens": 96},
    "updater": {"epochs": 1},
    "policy": {"epochs": 1},
    "trainer": {"contexts": 3, "samples": 2},
}


def test_edits_are_selected_by_marks_and_the_true_reward_is_measured_beside_them(tmp_path: Path) -> None:
    given = {**SMALL, "method": "proxy-reward", "preset": "lab-agreement", "beside": ["none"], "out": str(tmp_path)}
    done = runner.run({**given, "reward": {"true": {"use": "trial", "inner_seeds": 1}}})
    assert done.complete
    assert [row.method for row in done.result.rows] == ["proxy-reward", "none"]
    # The marks use no label; measuring the true reward beside them grades 6 questions of each of 3 pages.
    assert [row.costs["labels"] for row in done.result.rows] == [18, 0]
    with sqlite3.connect(done.folder / "journal.sqlite") as journal:
        [(kept,)] = journal.execute("SELECT value FROM kept WHERE name LIKE 'proxy-reward/agreement/%'").fetchall()
    report = json.loads(kept)
    assert (report["contexts"], report["edits"]) == (3, 6)
    assert report["seconds"]["proxy"] < report["seconds"]["true"]
