"""The signatures on the embedded model: small in the fast tests, in full in the slow ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.evidence.result import ResultFile
from harness.runs import runner


def ran(folder: Path, method: str, **more: Any) -> ResultFile:
    given = {"method": method, "model": "lab", "preset": "quick", "out": str(folder), "leaderboard": "", "beside": []}
    done = runner.run({**given, **more})
    assert done.complete
    return done.result


def by_step(result: ResultFile, table: str, method: str) -> list[float]:
    """A row's figure at every step of its table."""
    [found] = [one for one in result.tables if one.name == f"by-round.{table}"]
    [row] = [one for one in found.rows if one.method == method]
    return [mean(one.scores) for one in (*row.earlier, row)]


def mean(scores: Any) -> float:
    values = [value for seed in scores for value in seed if value is not None]
    return sum(values) / len(values)


def test_the_gap_between_open_and_closed_book_shrinks(tmp_path: Path) -> None:
    """On unseen questions of the same documents, four of them; reading is not lost meanwhile."""
    result = ran(tmp_path, "al", task={"test": 4})
    closed, read = by_step(result, "score", "al"), by_step(result, "open-book", "al")
    gaps = [b - a for a, b in zip(closed, read, strict=True)]
    assert len(gaps) == 3, "the start, the open-book stage, the closed-book stage"
    assert gaps[0] > 0.8
    assert gaps[-1] < 0.5 * gaps[0]
    assert read[-1] > 0.7
    [row] = [row for row in result.rows if row.method == "al"]
    assert not row.unranked
    assert row.costs["labels"] == 0
    assert any("open-book answers, round 1" in note for note in row.notes), "how many of its answers were right"


@pytest.mark.slow
def test_what_is_learnt_is_the_right_answers(tmp_path: Path) -> None:
    """Pairs of random answers at the same budget teach nothing; labelled ones teach, and cost labels."""
    result = ran(tmp_path, "al", beside=["al-random", "al-oracle"])
    last = {row.method: mean(row.scores) for row in result.rows}
    assert last["al"] > last["al-random"] + 0.3
    assert last["al-random"] < 0.15
    assert last["al-oracle"] > last["al-random"] + 0.05
    assert {row.method for row in result.rows if row.costs["labels"]} == {"al-oracle"}


@pytest.mark.slow
def test_dpo_alone_gains_nothing_and_with_an_added_likelihood_it_does(tmp_path: Path) -> None:
    alone = ran(tmp_path / "alone", "al-dpo", dpo={"loss": {"use": "dpo", "beta": 0.1, "nll": 0.0}})
    added = ran(tmp_path / "added", "al-dpo")
    assert by_step(alone, "score", "al-dpo")[-1] < 0.15
    assert by_step(added, "score", "al-dpo")[-1] > 0.2


@pytest.mark.slow
def test_alas_knows_more_of_the_library_after_every_round(tmp_path: Path) -> None:
    result = ran(tmp_path, "alas")
    closed = by_step(result, "score", "alas")
    assert len(closed) == 4
    assert closed == sorted(set(closed)), closed
    assert closed[-1] > closed[0] + 0.3
