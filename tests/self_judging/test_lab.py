"""The methods on the embedded model, from end to end and as small as they get."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.evidence.view.page import page
from harness.evidence.view.read import read_run
from harness.runs import runner
from tests.scripts import benchmark
from tests.self_judging.test_signatures import JUDGE


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


def test_the_judge_is_measured_by_round_and_shown(tmp_path: Path) -> None:
    """M1 and M2 mark the same answers, in a table by round; the page has both, and what each preferred of the probe."""
    pairs = {**JUDGE, "answers_by": "start", "samples": 2, "judgements": 1}
    own = {"proposed": 0, "probe": 2, "judgements": 1}
    done = small(
        tmp_path, "self-rewarding", trainer=own, also={"judge-pairs": {"evaluator": pairs}}, protocol="by-round"
    )
    [table] = [one for one in done.result.tables if one.name == "by-round.judge-pairs"]
    [row] = table.rows
    assert table.steps == (0, 1)
    assert len(row.earlier) == 1
    text = page([read_run(done.folder)])
    assert "by-round.judge-pairs" in text
    for model in ("M1", "M2"):
        assert f"probe, {model}: preferred: right" in text
    told, verdicts = benchmark("judges_by_round").report(done.result)
    assert "| `self-rewarding` |" in told
    assert set(verdicts) == {"the judge improves", "so does the policy"}, "of the tables and rows that are there"


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", ["meta-rewarding", "alma", "alma-random", "alma-oracle", "self-rewarding-oracle", "self-rewarding-sft"]
)
def test_the_others_run_too(tmp_path: Path, method: str) -> None:
    trainer = {} if method == "meta-rewarding" or method == "alma" else {"proposed": 0}
    done = small(tmp_path, method, trainer=trainer)
    assert done.complete
    [row] = done.result.rows
    assert (row.costs["labels"] > 0) == ("oracle" in method)
