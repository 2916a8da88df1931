"""The methods on the embedded model, from end to end: methods and controls in one table, and the papers' signatures."""

from __future__ import annotations

import re
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from harness.evidence.result import Row
from harness.runs import runner


def rows(folder: Path, method: str, **more: Any) -> dict[str, Row]:
    """The rows of a run with the quick preset."""
    given = {"method": method, "model": "lab-maths", "preset": "quick", "out": str(folder), "leaderboard": ""}
    done = runner.run({**given, **more})
    assert done.complete
    return {row.method: row for row in done.result.rows}


def score(row: Row) -> float:
    return fmean(value for seed in row.scores for value in seed if value is not None)


def said(row: Row, name: str) -> float:
    """The share of right labels that a row's notes name, in percent."""
    found = re.search(rf"{re.escape(name)} (\d+\.\d)%", " ".join(row.notes))
    assert found is not None, row.notes
    return float(found[1])


@pytest.mark.slow
def test_icm_comes_near_to_right_labels_and_far_from_random_ones(tmp_path: Path) -> None:
    found = rows(tmp_path, "icm")
    assert said(found["icm"], "label, batch 1") > said(found["icm-random"], "label, batch 1") + 20
    assert score(found["icm"]) > score(found["icm-oracle"]) - 0.15
    assert said(found["icm"], "label, batch 1") > said(found["icm-zero-shot"], "label, batch 1")
    labels = {name: row.costs["labels"] for name, row in found.items()}
    assert labels == {"icm": 0, "icm-zero-shot": 0, "icm-random": 0, "icm-oracle": 40}


@pytest.mark.slow
def test_questions_get_harder_and_the_backward_check_keeps_right_answers(tmp_path: Path) -> None:
    found = rows(tmp_path, "evol-instruct", beside=["evol-instruct-seeds"], seeds=2)
    shares: dict[str, list[float]] = {}
    notes = " ".join(found["evol-instruct"].notes)
    for name, share in re.findall(r"(FOBAR \w+|generation \d, one answer) (\d+\.\d)%", notes):
        shares.setdefault(name, []).append(float(share))
    assert all(len(of_seeds) == 2 for of_seeds in shares.values())
    right = {name: fmean(of_seeds) for name, of_seeds in shares.items()}
    assert right["FOBAR kept"] > right["FOBAR dropped"] + 15
    assert right["generation 2, one answer"] < right["generation 0, one answer"]
    assert all(not one.costs["labels"] for one in found.values())
