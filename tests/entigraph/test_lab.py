"""The whole method on the embedded model, small: one passage at a time, and all in one update with replay."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from harness_entigraph.lab_replay import documents

from harness.runs import runner


@pytest.mark.parametrize("preset", ["lab", "lab-cpt"])
def test_pairs_and_triples_are_learnt(tmp_path: Path, preset: str) -> None:
    given: dict[str, Any] = {"method": "entigraph-triples", "preset": preset, "limit": 3, "leaderboard": ""}
    if preset == "lab":
        given["updater"] = {"epochs": 1}
    else:
        given["cpt"] = {"use": "with-replay", "share": 0.3, "inner": {"use": "lora", "rank": 4, "epochs": 1}}
        given["cpt"]["corpus"] = "harness_entigraph:lab-replay.jsonl"
    done = runner.run({**given, "beside": ["none"], "out": str(tmp_path)})
    assert done.complete
    with sqlite3.connect(done.folder / "journal.sqlite") as journal:
        kept = [json.loads(v) for (v,) in journal.execute("SELECT value FROM kept WHERE name LIKE 'entigraph/%'")]
        updated = [json.loads(r) for (r,) in journal.execute("SELECT result FROM items WHERE kind = 'updated'")]
    assert sum(report["edits"] for report in kept) == 3
    assert sum(report["texts"] for report in kept) >= 3
    if preset == "lab-cpt":
        assert updated[0]["log"]["replayed"] > 0


def test_the_shipped_replay_text_is_what_its_script_writes() -> None:
    import harness_entigraph

    path = Path(str(harness_entigraph.__file__)).with_name("lab-replay.jsonl")
    assert [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()] == documents()
