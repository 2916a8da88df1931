"""``harness.results`` reads runs, folders and result files into pandas; the notebook of the documentation runs."""

from __future__ import annotations

import math
import runpy
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.errors import UsageError
from harness.evidence.leaderboard.summary import summarise
from harness.evidence.result import Snapshot, make_row
from harness.evidence.result_file import write
from tests.leaderboard.examples import items, result_file, row

pandas = pytest.importorskip("pandas")
EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "notebook.py"
ANIMALS = Path(__file__).parent / "animals.py"


def test_every_score_is_one_line_with_its_value_and_status(tmp_path: Path) -> None:
    task = items(contexts=2, per_context=2)
    base = row("seal", 0.5, task=task, seeds=(3,))
    scored = make_row(
        scores=[[1.0, 0.0, None, None]], status=["ofe-"], queries=4, method="seal", plugin="seal", card=base.card,
        protocol="single", editor_model="", start_model="", conditions=base.conditions, seeds=(3,),
    )  # fmt: skip
    write(result_file([scored], task=task), tmp_path / "one.json")
    found = harness.results(tmp_path / "one.json")
    assert list(found.columns) == ["run", "method", "seed", "step", "context", "query", "value", "status"]
    assert list(found["status"]) == ["ok", "failed", "error", "missing"]
    assert list(found["value"][:2]) == [1.0, 0.0]
    assert all(map(math.isnan, found["value"][2:])), "what is not known is not 0"
    assert list(found["context"]) == ["c0", "c0", "c1", "c1"]
    assert set(found["seed"]) == {3}


def test_rows_are_those_of_the_leaderboard(tmp_path: Path) -> None:
    made = result_file()
    write(made, tmp_path / "one.json")
    found = harness.results(tmp_path / "one.json", per="row").set_index("method")
    for one in summarise(made):
        line = found.loc[one.row.method]
        assert (line["score"], line["low"], line["high"], line["rank"]) == (one.score, one.low, one.high, one.rank)
        assert line["condition.task"] == "facts"
        assert line["cost.update_s"] == 240.0
    assert harness.results(tmp_path / "one.json").groupby("method")["value"].mean().to_dict() == pytest.approx(
        found["score"].to_dict()
    ), "every context has as many queries, so both averages agree"


def test_a_folder_of_runs_is_all_of_them_and_rows_are_ranked_together(tmp_path: Path) -> None:
    for run, chance in (("a", 0.1), ("b", 0.9)):
        (tmp_path / run).mkdir()
        write(result_file([row(f"m-{run}", chance, task=items())], run=run), tmp_path / run / "result.json")
    found = harness.results(tmp_path, per="row").set_index("run")
    assert found["rank"].to_dict() == {"a": 2, "b": 1}
    assert set(harness.results(tmp_path, tmp_path / "a")["run"]) == {"a", "b"}


def test_steps_are_lines_of_their_own(tmp_path: Path) -> None:
    task = items(contexts=1, per_context=1)
    one = replace(row("seal", 1.0, task=task, seeds=(0,)), earlier=(Snapshot(((0.0,),), ("f",)),))
    made = result_file([one], task=task)
    stepped = replace(made, tables=(replace(made.tables[0], steps=(1, 5)),))
    write(stepped, tmp_path / "one.json")
    found = harness.results(tmp_path / "one.json")
    assert list(zip(found["step"], found["value"], found["status"], strict=True)) == [
        (1, 0.0, "failed"),
        (5, 1.0, "ok"),
    ]
    assert list(harness.results(tmp_path / "one.json", table="score@1")["value"]) == [0.0]


def test_a_finished_run_can_be_handed_over(tmp_path: Path) -> None:
    config = {"method": "bare", "model": "animals", "task": "animals", "beside": [], "limit": 2, "out": str(tmp_path),
              "leaderboard": ""}  # fmt: skip
    done = harness.run(config, plugin_files=[ANIMALS])
    assert harness.results(done).equals(harness.results(done.folder))
    assert len(harness.results(done)) == done.result.rows[0].expected


@pytest.mark.parametrize(
    ("sources", "more", "said"),
    [
        (["nowhere"], {}, "nowhere: no such run"),
        ([], {}, "runs: no such run"),
        (["one.json"], {"table": "scroe"}, "Did you mean 'score'"),
        (["one.json"], {"per": "line"}, "per is 'query' or 'row'"),
    ],
)
def test_what_is_not_there_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sources: Sequence[str], more: Mapping[str, Any], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(result_file(), tmp_path / "one.json")
    with pytest.raises(UsageError, match=said):
        harness.results(*sources, **more)


def test_without_pandas_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['pandas'] = None; import harness; harness.results('x')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'selfadapt-harness[pandas]'" in done.stderr


def test_the_notebook_of_the_documentation_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLE))
    said = capsys.readouterr().out
    assert "True" in said.splitlines()[0]
    assert "questions are answered after learning the page" in said
    assert "none" in said
