"""Growing leaderboards: a method has one row however often it was run, and thousands of files are built in seconds."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from harness.cli.leaderboard import app
from harness.evidence.leaderboard.board import Line, build, sections
from harness.evidence.leaderboard.render import cells, to_csv, to_markdown
from harness.evidence.result import ResultFile, Row, TaskItems, make_row
from harness.evidence.result_file import write
from tests.leaderboard.examples import items, result_file, row

LEVELS = [0.05 + 0.1 * place for place in range(10)]


def _lines(files: list[ResultFile]) -> list[Line]:
    [section] = sections(files)
    return list(section.lines)


def test_a_hundred_rows_of_ten_methods_keep_the_ten_ranks() -> None:
    task = items(contexts=100, per_context=4)
    files = [
        result_file(
            [row(f"m{place}", level, task=task, seeds=(0, 1, 2), draw=again) for place, level in enumerate(LEVELS)],
            run=f"run-{again}", task=task,
        )
        for again in range(10)
    ]  # fmt: skip
    random.Random(0).shuffle(files)
    lines = _lines(files)
    assert [(line.method, line.rank, line.rank_high) for line in lines] == [
        (f"m{9 - place}", place + 1, place + 1) for place in range(10)
    ]
    assert {line.run for line in lines} == {"run-9"}


def test_other_runs_of_a_method_are_folded_under_the_newest_and_said() -> None:
    files = [
        result_file([row("seal", 0.5, task=items(), draw=again)], run=f"run-{again}") for again in (2, 10, 9, 1, 7)
    ]
    [line] = _lines(files)
    assert line.run == "run-10"
    assert [one.run for one in line.folded] == ["run-9", "run-7", "run-2", "run-1"]
    assert line.folded[0].score == pytest.approx(float(np.mean(files[2].rows[0].scores)))
    [said] = cells(line, names=["notes"])
    assert "4 other runs, not ranked: run-9 " in said
    assert "and 1 more" in said
    assert said in to_markdown(sections(files))
    assert "run-1 " in to_csv(sections(files))


def test_a_quick_run_of_one_seed_does_not_take_the_place_of_a_whole_one() -> None:
    whole = result_file([row("seal", 0.5, task=items())], run="20261120-1")
    quick = result_file([row("seal", 0.5, task=items(), seeds=(0,))], run="20261121-1")
    [line] = _lines([quick, whole])
    assert (line.run, line.rank, [one.run for one in line.folded]) == ("20261120-1", 1, ["20261121-1"])
    [line] = _lines([quick, replace(quick, run="20261121-2")])
    assert (line.run, line.rank) == ("20261121-2", None)


def test_other_models_conditions_and_items_are_not_folded() -> None:
    one = result_file([row("seal", 0.5, task=items())], run="run-1")
    other_start = result_file([row("seal", 0.5, task=items(), start_model="policy")], run="run-2")
    other_model = replace(one, run="run-3", model=replace(one.model, name="other"))
    fewer = items(contexts=9)
    other_items = result_file([row("seal", 0.5, task=fewer)], run="run-4", task=fewer)
    paper = replace(one, run="paper", kind="published")
    assert len(_lines([one, other_start, other_model, other_items])) == 4
    assert [len(section.lines) for section in sections([one, paper, replace(paper, run="paper-2")])] == [1, 2]


def _quick_row(method: str, level: float, task: TaskItems, rng: np.random.Generator) -> Row:
    base = row(method, 0.5, task=items(contexts=1), seeds=(0, 1, 2))
    scores = (rng.random((3, task.queries)) < level).astype(float).tolist()
    return make_row(
        scores=scores, status=["o" * task.queries] * 3, queries=task.queries, method=method, plugin="p",
        card=base.card, protocol="single", editor_model="lab", start_model="lab", conditions=base.conditions,
        seeds=(0, 1, 2),
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("methods", [10, 2000], ids=["ten methods", "each its own method"])
def test_two_thousand_files_are_built_in_half_a_minute(tmp_path: Path, methods: int) -> None:
    """32 contexts of 6 queries, three seeds. 400 files took 47 s, growing with the square of their number."""
    task = items(contexts=32, per_context=6)
    rng = np.random.default_rng(0)
    for place in range(2000):
        method = place % methods
        one = _quick_row(f"m{method}", 0.02 + 0.96 * method / methods, task, rng)
        write(result_file([one], run=f"run-{place}", task=task), tmp_path / "facts" / f"run-{place}.json")
    started = time.process_time()
    done = CliRunner().invoke(app, ["build", "--folder", str(tmp_path)])
    assert time.process_time() - started < 30
    assert done.exit_code == 0, done.output
    [section] = build(tmp_path)
    assert len(section.lines) == methods
    assert section.lines[0].rank == 1
