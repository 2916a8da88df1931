"""What is missing is said before an outer loop has run for nothing; no lm-eval is needed for that."""

from __future__ import annotations

from pathlib import Path

import pytest

import harness
from harness.errors import UsageError


def test_a_task_file_that_is_not_there_is_said_before_anything_is_done(tmp_path: Path) -> None:
    given = {
        "method": "none",
        "model": "lab",
        "limit": 1,
        "beside": [],
        "out": str(tmp_path / "runs"),
        "leaderboard": "",
    }
    missing = {"task": {"use": "lm-eval", "path": str(tmp_path / "no.yaml")}}
    with pytest.raises(UsageError, match=r"no lm-eval task file at .*no\.yaml"):
        harness.run({**given, "also": {"reading": missing}})
    assert not list((tmp_path / "runs").iterdir()), "nothing was begun"
