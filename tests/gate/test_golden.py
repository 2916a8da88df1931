"""The exact tier as CI runs it: the embedded model at fixed seeds gives the golden scores, one by one."""

from __future__ import annotations

from pathlib import Path

import pytest

import harness
from harness.evidence.gate.verdict import exact
from harness.evidence.result_file import read

GOLDEN = Path(__file__).parents[2] / "benchmarks" / "baselines" / "icl-lab-golden.json"


@pytest.mark.slow
def test_the_embedded_model_gives_the_golden_scores(tmp_path: Path) -> None:
    done = harness.run({"method": "icl", "limit": 8, "seeds": 1, "out": str(tmp_path / "runs"), "leaderboard": ""})
    checks = exact(read(GOLDEN), done.result)
    assert [check.method for check in checks] == ["icl", "none"]
    assert [(check.verdict, check.lost) for check in checks] == [("pass", ()), ("pass", ())]
