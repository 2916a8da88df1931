"""Both protocols on the embedded model of counting stories, as small as they get."""

from __future__ import annotations

from pathlib import Path

from harness.runs import runner


def test_offline_with_its_controls(tmp_path: Path) -> None:
    done = runner.run(
        {
            "method": "ace",
            "model": "lab-maths",
            "out": str(tmp_path),
            "leaderboard": "",
            "seeds": 1,
            "beside": ["ace-hidden", "ace-rewrite"],
            "task": {"train": 6, "validation": 0, "test": 3},
            "trainer": {"batch": 3, "every": 3},
            "evaluator": {"samples": 2},
        }
    )
    assert done.complete
    rows = {row.method: row for row in done.result.rows}
    assert rows["ace"].costs["labels"] == rows["ace-rewrite"].costs["labels"] == 6
    assert rows["ace-hidden"].costs["labels"] == 0


def test_online_says_how_many_bits_of_the_test_it_learnt_from(tmp_path: Path) -> None:
    done = runner.run(
        {
            "method": "ace-online",
            "model": "lab-maths",
            "out": str(tmp_path),
            "leaderboard": "",
            "seeds": 1,
            "beside": ["ace-online-hidden"],
            "task": {"test": 7},
            "protocol": {"window": 3},
        }
    )
    assert done.complete
    rows = {row.method: row for row in done.result.rows}
    assert any("6 bits of the test's own labels" in note for note in rows["ace-online"].notes)
    assert any("0 bits of the test's own labels" in note for note in rows["ace-online-hidden"].notes)
    assert {table.name for table in done.result.tables} == {"score", "windows"}
