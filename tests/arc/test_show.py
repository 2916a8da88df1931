"""``harness show`` draws a puzzle and a run's attempts."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from harness.cli import main, show
from harness.tasks.arc import Puzzle
from tests.arc.test_data import TASK


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "x1.json").write_text(json.dumps(TASK))
    return tmp_path


def shown(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[str, str, int]:
    with pytest.raises(SystemExit) as stopped:
        main(["show", *arguments])
    captured = capsys.readouterr()
    return captured.out, captured.err, int(stopped.value.code or 0)


def test_digits_where_there_is_no_colour(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, _, code = shown(["x1", "--data", str(folder)], capsys)
    assert code == 0
    lines = [line.split() for line in out.splitlines()]
    assert ["x1", "demonstration", "2"] in lines
    assert ["3", "4", "4", "3"] in lines
    assert ["5", "6", "6", "5"] in lines


@pytest.mark.parametrize("width", [200, 20])
def test_blocks_in_colour(width: int) -> None:
    puzzle = show.find(["59341089"], {"use": "arc", "data": _arc()})[0]
    console = Console(file=io.StringIO(), force_terminal=True, color_system="truecolor", width=width)
    show.print_puzzle(console, puzzle, [])
    text = console.file.getvalue()  # type: ignore[attr-defined]
    grids = [*puzzle.tests, *puzzle.solutions, *(grid for pair in puzzle.demos for grid in (pair.input, pair.output))]
    orange = sum(cell == 7 for grid in grids for row in grid for cell in row)
    assert text.count("\x1b[48;2;255;133;27m  ") == orange, "7 is orange"


def _arc() -> str:
    from tests.shared_data import shared

    return str(shared("arc"))


def test_a_runs_attempts_stand_beside_the_truth(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = folder / "run" / "scores"
    scores.mkdir(parents=True)
    line = {"method": "m", "seed": 0, "episode": "x1", "query": "x1-0", "sample": 0}
    lines = [{**line, "answers": ["[[6,5]]", "[[9]]"], "right": 1.0}, {**line, "answers": [], "reason": "unparsed"}]
    (scores / "m-0.jsonl").write_text("\n".join(map(json.dumps, lines)))
    out, _, code = shown(["x1", "--data", str(folder), "--run", str(folder / "run")], capsys)
    assert code == 0
    assert "m, seed 0, edit 1: right" in out
    assert "m, seed 0, edit 1: unparsed" in out
    assert "attempt 2" in out
    _, err, code = shown(["x1", "--data", str(folder), "--run", str(folder)], capsys)
    assert (code, "no scores of x1 there" in err) == (2, True)


def test_a_page_shows_demonstrations_attempts_and_truth(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, target = folder / "run", folder / "page.html"
    (run / "scores").mkdir(parents=True)
    line = {"method": "<m>", "seed": 0, "episode": "x1", "query": "x1-0", "sample": 0}
    lines = [
        {**line, "status": "ok", "answers": ["[[6,5]]", "[[9]]"], "right": 1.0},
        {**line, "status": "failed", "answers": [], "reason": "unparsed"},
    ]
    (run / "scores" / "m-0.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (run / "config.json").write_text(
        json.dumps(
            {
                "given": {},
                "plugin_files": [],
                "layers": [],
                "resolved": {
                    "method": "m",
                    "seed": 0,
                    "model": {"use": "lab"},
                    "task": {"use": "arc", "data": str(folder / "x1.json")},
                    "arms": {"m": {"plugin": "p", "protocol": {"use": "single"}, "roles": {}}},
                },
            }
        )
    )
    out, _, code = shown(["--run", str(run), "--html", str(target)], capsys)
    assert (out, code) == (f"{target}\n", 0)
    text = target.read_text()
    ElementTree.fromstring(text.replace("<!doctype html>", "").replace('<meta charset="utf-8">', ""))
    labels = re.findall('aria-label="([^"]*)"', text)
    assert labels == ["1 2", "2 1", "3 4", "4 3", "5 6", "6 5", "6 5", "9", "6 5"]
    assert '&lt;m&gt;, seed 0, edit 1: <b class="right">right</b>' in text
    assert '<b class="failed">unparsed</b>' in text


def test_a_puzzle_or_a_run_must_be_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "name a puzzle, or a run" in shown([], capsys)[1]
    assert "no run at" in shown(["--run", str(tmp_path)], capsys)[1]


def test_an_unknown_puzzle_gets_the_nearest_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, err, code = shown(["x2", "--data", str(folder)], capsys)
    assert code == 2
    assert err == "harness: task arc has no puzzle 'x2'. Did you mean 'x1'?\n"


def test_no_torch_is_imported(folder: Path) -> None:
    code = f"import sys; from harness.cli.show import find; find(['x1'], {{'use': 'arc', 'data': {str(folder)!r}}})"
    code += "; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


def test_grids_too_wide_stand_below_each_other() -> None:
    wide = tuple((1,) * 30 for _ in range(2))
    puzzle = Puzzle("wide", (), (wide,), (wide,))
    console = Console(file=io.StringIO(), width=80, color_system=None)
    show.print_puzzle(console, puzzle, [])
    rows = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert sum(row.split() == ["1"] * 30 for row in rows) == 4
