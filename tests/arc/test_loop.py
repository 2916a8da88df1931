"""Whole runs of the ARC methods on ``lab-grids``, with a model whose learning is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import harness
from harness.errors import UsageError

PLUGIN = Path(__file__).with_name("learner.py")


def run(folder: Path, **more: Any) -> harness.Run:
    config = {
        "method": "seal-arc",
        "preset": "lab",
        "model": "learner",
        "limit": 3,
        "samples": 4,
        "trainer": {"contexts": 2, "samples": 4},
        "editor": {"max_tokens": 512},
        "out": str(folder / "runs"),
        "leaderboard": "",
        **more,
    }
    return harness.run(config, plugin_files=[PLUGIN])


def scores(done: harness.Run) -> dict[str, float]:
    return {row.method: sum(v or 0 for seed in row.scores for v in seed) / row.expected for row in done.result.rows}


def lines(done: harness.Run, method: str) -> list[dict[str, Any]]:
    return [line for line in done.scores() if line["method"] == method]


def test_a_policy_learns_to_choose_what_works(tmp_path: Path) -> None:
    """Without training, one of four configurations is malformed, one trains too little, and two solve the puzzle."""
    done = run(tmp_path)
    assert scores(done) == {"seal-arc": 1.0, "arc-icl": 0.0, "arc-ttt-no-rl": 0.5, "arc-oracle-ttt": 1.0}
    assert done.complete
    said = done.result.rows[0].curve
    assert len(said) == 2


def test_malformed_wrong_and_silent_are_told_apart(tmp_path: Path) -> None:
    done = run(tmp_path)
    untrained = lines(done, "arc-ttt-no-rl")
    assert len(untrained) == 3 * 4
    by_sample = {at: [line for line in untrained if line["sample"] == at] for at in range(4)}
    assert {(line["status"], line["value"]) for line in by_sample[0]} == {("failed", 0.0)}
    assert all("not JSON" in line["reason"] for line in by_sample[0])
    assert {(line["status"], line["value"], line["right"]) for line in by_sample[1]} == {("ok", 0.0, 0.0)}
    assert {(line["status"], line["value"], line["right"]) for line in by_sample[2] + by_sample[3]} == {
        ("ok", 1.0, 1.0)
    }
    silent = lines(done, "arc-icl")
    assert {(line["status"], line["value"], line["reason"]) for line in silent} == {("failed", 0.0, "unparsed")}
    row = next(row for row in done.result.rows if row.method == "arc-icl")
    assert row.status == ("uuu",)


def test_pairs_of_puzzle_and_edit_are_counted_beside_the_row(tmp_path: Path) -> None:
    done = run(tmp_path)
    notes = {row.method: row.notes for row in done.result.rows}
    assert notes["seal-arc"] == ("solved 12 of 12 pairs of puzzle and edit (Wilson 76–100)",)
    assert notes["arc-ttt-no-rl"] == ("solved 6 of 12 pairs of puzzle and edit (Wilson 25–75)",)
    assert notes["arc-icl"] == ("solved 0 of 3 pairs of puzzle and edit (Wilson 0–56)",)


def test_malformed_edits_drawn_again_are_marked_on_the_row(tmp_path: Path) -> None:
    done = run(
        tmp_path, method="arc-ttt-no-rl", trainer={}, beside=[], editor={"max_tokens": 512, "malformed": "resample"}
    )
    (row,) = done.result.rows
    assert row.notes[0].startswith("3 of 12 edits marked, the first: drawn again: ")
    assert scores(done) == {"arc-ttt-no-rl": 0.75}, "0.5 where malformed ones count"


def test_too_few_good_configurations_leave_the_policy_as_it_was(tmp_path: Path) -> None:
    done = run(tmp_path, trainer={"contexts": 2, "samples": 2}, beside=[])
    assert scores(done) == {"seal-arc": 0.5}


def test_resuming_a_finished_run_computes_nothing(tmp_path: Path) -> None:
    first = run(tmp_path, beside=[])
    again = harness.resume(first.folder)
    assert again.ran == 0
    assert again.scores() == first.scores()


def test_other_tasks_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="task 'lab-facts' has none"):
        run(tmp_path, task={"use": "lab-facts"}, beside=[])
