"""`lab-grids` with the rules `colours`: puzzles that the lab model learns at test time if it is trained well."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness_lab.grids_task import LabGrids

import harness
from harness.tasks.arc.grid import Grid, Puzzle


def puzzles(split: str, **settings: object) -> list[Puzzle]:
    task = LabGrids(LabGrids.Settings(**{"rules": "colours", **settings}))  # type: ignore[arg-type]
    return list(task.puzzles(split))  # type: ignore[arg-type]


def mapping(before: Grid, after: Grid) -> dict[int, set[int]]:
    """What becomes of each colour, cell by cell."""
    out: dict[int, set[int]] = {}
    for row, changed in zip(before, after, strict=True):
        for a, b in zip(row, changed, strict=True):
            out.setdefault(a, set()).add(b)
    return out


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_every_colour_has_one_image_and_cells_stay(split: str) -> None:
    for puzzle in puzzles(split):
        images: dict[int, set[int]] = {}
        pairs = [(pair.input, pair.output) for pair in puzzle.demos]
        for before, after in [*pairs, (puzzle.tests[0], puzzle.solutions[0])]:
            assert 2 <= len(before) <= 3
            assert len(before[0]) == 3
            assert {c for row in before for c in row} == {c for row in pairs[0][0] for c in row}, "all its colours"
            for colour, found in mapping(before, after).items():
                images.setdefault(colour, set()).update(found)
        assert all(len(found) == 1 for found in images.values())
        assert any(found != {colour} for colour, found in images.items())


def test_no_puzzle_is_in_two_splits_and_other_seeds_are_other_puzzles() -> None:
    shown = {split: {p.demos for p in puzzles(split)} for split in ("train", "validation", "test")}
    assert sum(map(len, shown.values())) == len(set().union(*shown.values())) == 36 + 18 + 60
    assert puzzles("test")[0].demos != puzzles("test", seed=2)[0].demos
    assert puzzles("test")[0].demos != puzzles("test", rules="all")[0].demos


def test_how_a_puzzle_is_trained_decides_whether_it_is_solved(tmp_path: Path) -> None:
    """The same puzzles at two learning rates: both are of those that the lab model's configurations choose among."""
    done = harness.run({
        "method": "arc-oracle-ttt", "preset": "lab", "model": "lab", "limit": 4, "beside": ["arc-icl"],
        "variants": {"gentle": {"method": "arc-oracle-ttt", "updater": {"learning_rate": 1e-4}}},
        "evaluator": {"augmentations": []}, "out": str(tmp_path), "leaderboard": "",
    })  # fmt: skip
    solved = {row.method: sum(v or 0 for seed in row.scores for v in seed) for row in done.result.rows}
    assert solved["arc-oracle-ttt"] >= 3
    assert solved["gentle"] == solved["arc-icl"] <= 1
