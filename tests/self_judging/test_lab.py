"""The methods on the embedded model, from end to end and as small as they get."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.runs import runner


def small(folder: Path, method: str, **more: Any) -> Any:
    trainer = {"rounds": 1, "samples": 4, "probe": 2, "proposed": 3, **more.pop("trainer", {})}
    given = {
        "method": method,
        "preset": "quick",
        "out": str(folder),
        "leaderboard": "",
        "beside": [],
        "task": {"use": "lab-maths", "train": 3, "validation": 2, "test": 2},
        "trainer": trainer,
        "also": {},
        "evaluator": {"samples": 2},
        **more,
    }
    return runner.run(given)


def test_self_rewarding_learns_of_problems_that_it_wrote(tmp_path: Path) -> None:
    done = small(tmp_path, "self-rewarding")
    assert done.complete
    [row] = done.result.rows
    assert row.costs["labels"] == 0
    assert any("probe, M2: preferred" in note for note in row.notes), "the judge's choices are shown by round"


@pytest.mark.slow
@pytest.mark.parametrize("method", ["meta-rewarding", "alma", "self-rewarding-oracle", "self-rewarding-sft"])
def test_the_others_run_too(tmp_path: Path, method: str) -> None:
    trainer = {} if method == "meta-rewarding" or method == "alma" else {"proposed": 0}
    done = small(tmp_path, method, trainer=trainer)
    assert done.complete
    [row] = done.result.rows
    assert (row.costs["labels"] > 0) == ("oracle" in method)
