"""The terminal's tables stay readable with many methods, many measures and long notes, in 80 columns."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from harness.evidence.leaderboard.table import LONG, render
from harness.evidence.result import ResultFile
from tests.leaderboard.examples import items, result_file, row

METHODS = [f"self-{kind}-{control}" for kind in ("rewarding", "taught", "judged") for control in ("oracle", "random")]


def _printed(found: ResultFile, width: int = 80) -> list[str]:
    stream = io.StringIO()
    Console(width=width, file=stream).print(render(found))
    return stream.getvalue().splitlines()


def _with_measures(methods: list[str], measures: int) -> ResultFile:
    task = items()
    found = result_file([row(name, 0.5, task=task) for name in methods], task=task)
    [head] = found.tables
    return replace(found, tables=(head, *(replace(head, name=f"measure-of-kind-{place}") for place in range(measures))))


def test_a_line_for_each_method_where_they_are_more_than_the_measures() -> None:
    lines = _printed(_with_measures([*METHODS, "other-one", "other-two", "other-three"], 8))
    assert max(map(len, lines)) <= 80
    beside = lines[next(i for i, line in enumerate(lines) if line.startswith("beside it")) :]
    for name in METHODS:
        found = [line.split() for line in beside if line.split()[:1] == [name]]
        assert [len(cells) - 1 for cells in found] == [5, 3]  # five measures side by side, then the others


def test_a_line_for_each_measure_where_they_are_more() -> None:
    lines = _printed(_with_measures(METHODS[:2], 8), width=160)
    assert sum(line.split()[:1] == [f"measure-of-kind-{place}"] for place in range(8) for line in lines) == 8


def test_names_go_on_after_a_hyphen() -> None:
    names = ["very-seldom-named-so", "none"]
    lines = _printed(_with_measures(names, 0))
    start = next(i for i, line in enumerate(lines) if "very-" in line)
    cells = [line.split() for line in lines[start : start + 4]]
    assert any("none" in line.split() for line in lines)
    pieces = [cells[0][1], *(cell[0] for cell in cells[1:] if len(cell) == 1)]
    assert "".join(pieces) == names[0]
    assert all(piece.endswith("-") for piece in pieces[:-1])


def test_a_long_note_is_cut_and_says_where_the_rest_is() -> None:
    task = items()
    long = replace(row("noted", 0.5, task=task), notes=("labels that were right: " + "round, 1 of 2; " * 50, "short"))
    text = " ".join(" ".join(_printed(result_file([long], task=task))).split())
    assert "... (the rest: harness view); short" in text
    assert text.count("round, 1 of 2") < LONG / len("round, 1 of 2; ")
