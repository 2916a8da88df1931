"""All renderings agree, are escaped, and are reported as stale when they are."""

from __future__ import annotations

import csv
import io
import random
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness.api import HarnessError
from harness.cli.leaderboard import app
from harness.evidence.leaderboard.board import sections
from harness.evidence.leaderboard.page import to_html
from harness.evidence.leaderboard.render import HEADERS, IN_MARKDOWN, cells, stale, to_csv, to_markdown
from harness.evidence.result import ResultFile, make_row
from harness.evidence.result_file import write
from tests.leaderboard.examples import items, result_file, row


def _files() -> list[ResultFile]:
    task = items(contexts=40)
    first = result_file([row("none", 0.1, task=task), row("seal", 0.6, task=task)], task=task)
    second = result_file(
        [row("passage", 0.6, task=task), row("icl", 0.9, task=task, samples="2")], run="run-2", task=task
    )
    hostile = replace(row("<script>alert(1)</script>|{{data}}", 0.3, task=task), notes=("</script><b>",))
    published = replace(result_file([hostile], run="paper", task=task), kind="published")
    return [first, second, published]


def test_rows_of_different_runs_are_ranked_together_where_conditions_agree() -> None:
    ranks = {line.method: line.rank for one in sections(_files()) for line in one.lines if one.kind == "measured"}
    assert ranks == {"seal": 1, "passage": 1, "none": 3, "icl": 1}


def test_published_rows_stand_apart() -> None:
    made = sections(_files())
    assert [one.kind for one in made] == ["measured", "published"]
    assert {line.run for line in made[1].lines} == {"paper"}
    assert {line.method: line.group for line in made[0].lines}["icl"] == "2 edits per context"


def test_a_row_has_a_cell_for_every_header() -> None:
    assert {len(cells(line)) for one in sections(_files()) for line in one.lines} == {len(HEADERS)}
    for wanted in ("score", "95% interval", "seeds", "scored/expected", "failed", "unparsed", "errors", "edit tokens",
                   "update", "generation", "outer loop", "meta-training", "money", "labels", "outside teacher",
                   "open-book"):  # fmt: skip
        assert wanted in HEADERS


def test_a_seed_that_broke_leaves_the_row_its_score_and_takes_its_rank() -> None:
    task = items()
    whole = row("seal", 0.6, task=task, seeds=(0, 1, 2))
    nothing: list[float | None] = [None] * task.queries
    broken = make_row(
        scores=[*whole.scores[:2], nothing], status=[*whole.status[:2], "-" * task.queries], queries=task.queries,
        method="broken", plugin="broken", card=whole.card, protocol="single", editor_model="", start_model="",
        conditions=whole.conditions, seeds=(0, 1, 2),
    )  # fmt: skip
    made = sections([result_file([whole, broken], task=task)])
    line = next(line for line in made[0].lines if line.method == "broken")
    assert line.score == pytest.approx(sum(map(sum, whole.scores[:2])) / (2 * task.queries))  # type: ignore[arg-type]
    assert line.low is not None
    assert 0 < line.low < line.score < 1
    assert line.rank is None
    assert "incomplete" in line.notes[0]
    assert to_markdown(made)


def test_the_order_of_files_does_not_matter() -> None:
    files = _files()
    wanted = to_markdown(sections(files))
    for seed in range(3):
        random.Random(seed).shuffle(files)
        assert to_markdown(sections(files)) == wanted


def test_of_each_task_the_headline_comes_first() -> None:
    """Not the measure whose name comes first."""
    found = result_file()
    [head] = found.tables
    measure = replace(head, name="answers", task=replace(head.task, metric="a measure"))
    measure = replace(measure, rows=[replace(one, conditions={**one.conditions, "metric": "a"}) for one in head.rows])
    made = sections([replace(found, tables=(head, measure))])
    assert [one.table for one in made] == ["", "answers"]
    assert made[1].title < made[0].title


def test_csv_and_json_hold_every_row() -> None:
    made = sections(_files())
    rows = list(csv.DictReader(io.StringIO(to_csv(made))))
    assert sorted(one["method"] for one in rows) == sorted(line.method for one in made for line in one.lines)
    assert float(rows[0]["score"]) == pytest.approx(made[0].lines[0].score, abs=1e-4)


def test_markdown_tables_are_whole_whatever_a_name_holds() -> None:
    lines = [line for line in to_markdown(sections(_files())).splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {len(IN_MARKDOWN) + 1}
    assert len(IN_MARKDOWN) <= 10, "more does not fit a page"
    assert not any("<script>" in line for line in lines)


def test_html_escapes_what_it_shows() -> None:
    page = to_html(sections(_files()))
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;|{{data}}" in page
    assert page.count("<script>") == 1, "the page's own"
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")


def test_build_check_and_stale(tmp_path: Path) -> None:
    runner = CliRunner()
    for found in _files():
        write(found, tmp_path / "facts" / f"{found.run}.json")
    folder = ["--folder", str(tmp_path)]
    assert runner.invoke(app, ["build", *folder, "--check"]).exit_code == 1
    done = runner.invoke(app, ["build", *folder])
    assert done.exit_code == 0, done.output
    assert sorted(path.suffix for path in tmp_path.glob("leaderboard.*")) == [".csv", ".html", ".json", ".md"]
    assert runner.invoke(app, ["build", *folder, "--check"]).exit_code == 0
    write(result_file([row("new", 0.5, task=items())], run="run-3"), tmp_path / "facts" / "run-3.json")
    old = runner.invoke(app, ["build", *folder, "--check"])
    assert old.exit_code == 1
    assert "leaderboard.md" in old.stderr


def test_a_broken_result_file_stops_the_build_and_leaves_what_was(tmp_path: Path) -> None:
    write(result_file(), tmp_path / "facts" / "run-1.json")
    (tmp_path / "facts" / "bad.json").write_text("{")
    with pytest.raises(HarnessError, match=r"bad\.json"):
        CliRunner().invoke(app, ["build", "--folder", str(tmp_path)], catch_exceptions=False)
    assert list(tmp_path.glob("leaderboard.*")) == []


def test_two_files_of_one_run_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(result_file(), tmp_path / "facts" / f"{name}.json")
    with pytest.raises(HarnessError, match="two result files of run 'run-1'"):
        CliRunner().invoke(app, ["build", "--folder", str(tmp_path)], catch_exceptions=False)


def test_a_run_in_a_checkout_makes_nothing_stale(tmp_path: Path) -> None:
    def git(*words: str) -> None:
        subprocess.run(["git", *words], cwd=tmp_path, check=True, capture_output=True)

    board = tmp_path / "leaderboards"
    for found in _files():
        write(found, board / "facts" / f"{found.run}.json")
    runner, folder = CliRunner(), ["--folder", str(board)]
    assert runner.invoke(app, ["build", *folder]).exit_code == 0
    git("init", "-q")
    git("add", "leaderboards")
    write(result_file([row("new", 0.5, task=items())], run="run-9"), board / "facts" / "run-9.json")
    assert runner.invoke(app, ["build", *folder, "--check"]).exit_code == 0, "nobody committed it"
    assert runner.invoke(app, ["build", *folder]).exit_code == 0
    old = runner.invoke(app, ["build", *folder, "--check"])
    assert old.exit_code == 1, "what git does not track may not be in what it does"
    assert "run-9.json added to git or moved away" in old.stderr
    git("add", "leaderboards/facts/run-9.json")
    assert runner.invoke(app, ["build", *folder, "--check"]).exit_code == 0


def test_the_shipped_renderings_are_up_to_date(tmp_path: Path) -> None:
    """Only files under version control count: a run in the checkout adds its own, which nobody has to commit."""
    root = Path(__file__).parents[2]
    listed = subprocess.run(["git", "ls-files", "leaderboards"], cwd=root, capture_output=True, text=True, check=False)
    if listed.returncode or not listed.stdout:
        pytest.skip("not a git checkout: which result files are shipped is not known")
    for name in listed.stdout.splitlines():
        if (root / name).exists():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, tmp_path / name)
    assert stale(tmp_path / "leaderboards") == [], "`harness leaderboard build` makes them anew"
