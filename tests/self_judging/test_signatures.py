"""What the papers say should happen, on the embedded model; the README has the sizes of it over seeds."""

from __future__ import annotations

import re
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from harness.runs import runner

JUDGE = {
    "use": "self-judged", "measure": "pair-accuracy", "samples": 6, "max_tokens": 96, "judgements": 1,
    "judge_prompt": "lab-maths-judge", "judge_temperature": 1.0, "judge_top_p": 1.0, "judge_max_tokens": 96,
}  # fmt: skip


def measured(folder: Path, method: str, **given: Any) -> Any:
    done = runner.run({"method": method, "model": "lab-maths", "out": str(folder), "leaderboard": "", **given})
    assert done.complete
    return done.result


def value(result: Any, table: str, method: str) -> float:
    [row] = [row for one in result.tables if one.name == table for row in one.rows if row.method == method]
    return fmean(row.scores[0])


def test_a_mean_of_marks_orders_more_pairs_than_a_mark(tmp_path: Path) -> None:
    """ALMA's real-valued judge against an integer one, on the very same judgements; and both against a coin."""
    result = measured(
        tmp_path,
        "untrained",
        beside=[],
        preset="lab-maths",
        task={"use": "lab-maths", "train": 1, "test": 30, "seed": 3},
        evaluator={"use": "self-judged", **JUDGE, "judge_score": "expected"},
        also={"written": {"evaluator": {**JUDGE, "judge_score": "sampled"}}},
    )
    real, written = value(result, "score", "untrained"), value(result, "written", "untrained")
    assert real > written > 0.6


@pytest.mark.slow
def test_the_judges_pairs_teach_and_random_pairs_do_not(tmp_path: Path) -> None:
    result = measured(
        tmp_path,
        "self-rewarding",
        beside=["untrained", "self-rewarding-random"],
        preset="quick",
        also={},
        trainer={"rounds": 1, "probe": 0},
    )
    [note] = [note for row in result.rows if row.method == "self-rewarding" for note in row.notes if "right" in note]
    right = {name: float(share) for name, share in re.findall(r"round 1: (\w+) ([\d.]+)%", note)}
    assert right["preferred"] > 3 * right["rejected"], "the judge knows right from wrong"
    own, start = value(result, "score", "self-rewarding"), value(result, "score", "untrained")
    assert own > start
    assert own > value(result, "score", "self-rewarding-random")
