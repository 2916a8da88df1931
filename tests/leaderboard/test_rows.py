"""The result file: what is written is what is read, and a file that contradicts itself is refused with its field."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from harness.evidence.leaderboard.summary import summarise
from harness.evidence.leaderboard.table import render
from harness.evidence.result import make_row
from harness.evidence.result_file import ResultError, dumps, parse, read, result_paths, write
from harness.stats import RankSet
from tests.leaderboard.examples import items, result_file, row


def test_round_trip(tmp_path: Path) -> None:
    found = result_file()
    path = write(found, tmp_path / "facts" / "run-1.json")
    assert read(path) == found
    assert result_paths(tmp_path) == [path]
    assert [entry.name for entry in path.parent.iterdir()] == ["run-1.json"]


def test_whole_scores_are_kept_as_integers() -> None:
    line = next(line for line in dumps(result_file()).splitlines() if line.strip().startswith("[0,"))
    assert "." not in line


@given(
    st.lists(
        st.sampled_from([("o", 1.0), ("o", 0.25), ("f", 0.0), ("u", 0.0), ("u", None), ("e", None), ("-", None)]),
        min_size=60,
        max_size=60,
    )
)
def test_counts_follow_from_scores(cells: list[tuple[str, float | None]]) -> None:
    task = items()
    base = row("m", 0.5, task=task, seeds=(0,))
    kept = {name: getattr(base, name) for name in ("method", "plugin", "card", "protocol", "editor_model")}
    made = make_row(
        scores=[[value for _, value in cells]],
        status=["".join(letter for letter, _ in cells)],
        queries=task.queries,
        start_model="lab",
        conditions=base.conditions,
        seeds=(0,),
        **kept,
    )
    assert made.expected == 60
    assert made.scored + made.errors + made.missing + sum(cell == ("u", None) for cell in cells) == 60
    assert parse(dumps(result_file([made])), "x").rows[0] == made


def _edit(change: Callable[[dict[str, Any]], object]) -> str:
    raw = json.loads(dumps(result_file()))
    change(raw)
    return json.dumps(raw)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda raw: raw["tables"][0]["rows"][0]["scores"][0].pop(), "59 scores and 60 status letters for 60 queries"),
        (lambda raw: raw["tables"][0]["rows"][0].update(scored=1), "scored is 1, its rows give 300"),
        (lambda raw: raw["tables"][0]["rows"][1].update(speed=1), "rows.1.speed: "),
        (
            lambda raw: raw["tables"][0]["task"]["items"].append(raw["tables"][0]["task"]["items"][0]),
            "'c0' occurs twice",
        ),
        (
            lambda raw: raw["tables"][0]["rows"][0]["scores"][0].__setitem__(3, 2),
            "query 3: value 2.0 does not go with status 'o'",
        ),
        (lambda raw: raw["tables"][0]["rows"][0]["scores"][0].__setitem__(3, float("nan")), "NaN is not a JSON number"),
        (lambda raw: raw.update(schema="2"), "schema: "),
        (lambda raw: raw["tables"][0]["rows"][0].update(seeds=[0, 0, 1, 2, 3]), "a seed occurs twice"),
        (lambda raw: raw["tables"][0]["rows"][0].update(scores=[], status=[]), "neither scores nor a reported figure"),
    ],
)
def test_a_bad_file_is_refused_by_field(change: Callable[[dict[str, Any]], object], said: str) -> None:
    with pytest.raises(ResultError, match=r"f\.json") as caught:
        parse(_edit(change), "f.json")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.json"
    path.write_text(dumps(result_file())[:-40])
    with pytest.raises(ResultError, match=r"cut\.json"):
        read(path)


def test_nothing_half_written_is_left(tmp_path: Path) -> None:
    found = result_file()
    broken = found.with_rows([replace(found.rows[0], scored=1)])
    with pytest.raises(ResultError):
        write(broken, tmp_path / "run.json")
    unwritable = replace(found, environment={"when": object()})
    with pytest.raises(TypeError):
        write(unwritable, tmp_path / "run.json")
    assert list(tmp_path.iterdir()) == []


def test_rows_that_cannot_be_told_apart_share_a_rank() -> None:
    task = items()
    rows = [row("none", 0.1, task=task), row("a", 0.6, task=task), row("b", 0.6, task=task)]
    ranks = {one.row.method: one.ranks for one in summarise(result_file(rows))}
    assert ranks == {"none": RankSet(3, 3), "a": RankSet(1, 2), "b": RankSet(1, 2)}


def test_other_conditions_are_ranked_apart_and_one_seed_not_at_all() -> None:
    task = items()
    rows = [
        row("none", 0.1, task=task),
        row("open", 0.9, task=task, samples="2"),
        row("once", 0.6, task=task, seeds=(0,)),
    ]
    found = {one.row.method: one for one in summarise(result_file(rows))}
    assert (found["none"].rank, found["open"].rank, found["once"].rank) == (1, 1, None)
    assert found["once"].why_unranked == "1 seed, unranked"


def test_the_table_says_what_is_behind_each_figure() -> None:
    stream = io.StringIO()
    Console(width=200, file=stream).print(render(result_file()))
    text = stream.getvalue()
    assert "300/300" in text
    assert "that noise leaves open" in " ".join(text.split())
