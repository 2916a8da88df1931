"""The whole method on the embedded model, small: the teacher is asked over HTTP."""

from __future__ import annotations

from pathlib import Path

from harness.runs import runner


def test_the_lab_learns_what_it_wrote_over_http(tmp_path: Path) -> None:
    given = {"method": "gpt-editor", "limit": 2, "leaderboard": "", "beside": ["none"], "out": str(tmp_path)}
    small = {"editor": {"max_tokens": 96}, "updater": {"epochs": 1}}
    done = runner.run({**given, **small, "roles": {"teacher": {"use": "loopback", "path": "lab", "output_price": 4e4}}})
    assert done.complete
    row = done.result.rows[0]
    assert row.card.outside_teacher
    assert row.editor_model == "loopback:lab"
    assert row.editor_model != row.start_model
    assert row.costs["edit_tokens"]
    assert row.costs["usd"]
