"""``harness compare``: verdicts, refusals, flips, and what it needs to decide."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from harness.api import HarnessError
from harness.cli.compare import command
from harness.evidence.compare import NothingMeasured, compare, compare_all
from harness.evidence.result import Reported, ResultFile, Row, TaskItems, make_row
from harness.evidence.result_file import write
from harness.evidence.sources import Interrupted, Source, open_source
from tests.leaderboard.examples import items, result_file, row

app = Typer()
app.command()(command)


def _source(one: Row, task: TaskItems | None = None) -> Source:
    return Source(one.method, result_file([one], task=task or items()), one)


def _changed(base: Row, **change: object) -> Row:
    return replace(base, **change)  # type: ignore[arg-type]


def test_verdicts() -> None:
    task = items(contexts=60)
    low, high, same = (row(name, chance, task=task) for name, chance in (("a", 0.2), ("b", 0.7), ("c", 0.2)))
    up, down = compare(_source(low, task), _source(high, task)), compare(_source(high, task), _source(low, task))
    assert (up.verdict, down.verdict) == ("better", "worse")
    assert up.difference == pytest.approx(-(down.difference or 0))
    assert compare(_source(low, task), _source(same, task)).verdict == "inconclusive"


def test_flips_name_the_queries() -> None:
    task = items(contexts=2, per_context=2)
    a = row("a", 0, task=task, seeds=(0,))
    b = make_row(
        scores=[[1.0, 0.0, 0.0, 0.0]], status=["oooo"], queries=4, method="b", plugin="b", card=a.card,
        protocol="single", editor_model="", start_model="lab", conditions=a.conditions, seeds=(0,),
    )  # fmt: skip
    found = compare(_source(a, task), _source(b, task))
    assert (found.won, found.lost) == (("c0/q0",), ())
    assert compare(_source(b, task), _source(a, task)).lost == ("c0/q0",)
    assert found.mcnemar_p == 1.0


def test_the_order_of_items_does_not_matter() -> None:
    task = items()
    a, b = row("a", 0.3, task=task), row("b", 0.5, task=task)
    wanted = compare(_source(a, task), _source(b, task))
    turned = replace(task, items=tuple((context, queries[::-1]) for context, queries in task.items[::-1]))
    b_turned = _changed(b, scores=tuple(one[::-1] for one in b.scores), status=tuple(one[::-1] for one in b.status))
    assert compare(_source(a, task), _source(b_turned, turned)).difference == pytest.approx(wanted.difference)


def test_other_conditions_are_refused_with_the_field_and_marked_when_forced() -> None:
    task = items()
    a, b = row("a", 0.3, task=task), row("b", 0.5, task=task, start_model="policy")
    found = compare(_source(a, task), _source(b, task))
    assert (found.verdict, found.differing, found.difference) == ("incomparable", ("start_model",), None)
    forced = compare(_source(a, task), _source(b, task), force=True)
    assert forced.forced
    assert forced.difference is not None
    assert any("start model" in note for note in forced.notes)


def test_queries_without_a_value_are_left_out_on_both_sides() -> None:
    task = items(contexts=4, per_context=1)
    a = row("a", 0.5, task=task, seeds=(0, 1))
    holes = _changed(a, scores=((None, *a.scores[0][1:]), a.scores[1]), status=("eooo", "oooo"), scored=7, errors=1)
    found = compare(_source(a, task), _source(holes, task))
    assert (found.n_queries, found.left_out) == (3, 1)


def test_nothing_in_common_and_nothing_measured_are_told_apart() -> None:
    task, other = items(contexts=2), replace(items(contexts=2), items=(("x", ("x/0",)), ("y", ("y/0",))))
    a, b = row("a", 0.5, task=task), row("b", 0.5, task=other)
    with pytest.raises(NothingMeasured, match="no query in common"):
        compare(_source(a, task), _source(b, other), force=True)
    lost = _changed(a, scores=tuple((None,) * 6 for _ in a.seeds), status=("e" * 6,) * 5, scored=0, errors=30)
    with pytest.raises(NothingMeasured, match="no query has a score in both"):
        compare(_source(a, task), _source(lost, task))


def test_a_printed_figure_cannot_be_paired() -> None:
    task = items()
    a = row("a", 0.5, task=task)
    printed = _changed(a, scores=(), status=(), seeds=(), expected=0, scored=0, reported=Reported(0.5))
    with pytest.raises(NothingMeasured, match="printed figure"):
        compare(_source(a, task), _source(printed, task))


def test_several_comparisons_are_adjusted_together() -> None:
    task = items(contexts=60)
    base = _source(row("base", 0.4, task=task), task)
    others = [_source(row(f"m{i}", 0.4, task=task, draw=i), task) for i in range(6)]
    found = compare_all(base, others)
    assert all((one.p or 0) >= (one.p_unadjusted or 0) for one in found)
    assert any((one.p or 0) > (one.p_unadjusted or 0) for one in found)


def test_an_undecided_comparison_says_what_would_decide_it() -> None:
    task = items(contexts=60)
    found = compare(_source(row("a", 0.4, task=task), task), _source(row("b", 0.43, task=task), task))
    assert found.verdict == "inconclusive"
    assert found.needed is not None
    assert found.needed.contexts is None or found.needed.contexts > 60


def _files(folder: Path) -> tuple[str, str]:
    task = items(contexts=60)
    both = result_file([row("a", 0.2, task=task), row("b", 0.7, task=task)], task=task)
    path = write(both, folder / "facts" / "run-1.json")
    return f"{path}#a", f"{path}#b"


def test_the_command_prints_one_json_object(tmp_path: Path) -> None:
    a, b = _files(tmp_path)
    done = CliRunner().invoke(app, [a, b, "--json"])
    found = json.loads(done.stdout)
    assert done.exit_code == 0
    assert {"difference", "ci95", "p", "n_contexts", "n_queries", "seeds", "verdict"} <= found.keys()
    assert found["verdict"] == "better"
    assert found["ci95"][0] < found["difference"] < found["ci95"][1]


def test_the_command_exits_3_where_rows_are_incomparable(tmp_path: Path) -> None:
    task = items()
    path = write(
        result_file([row("a", 0.2, task=task), row("b", 0.7, task=task, metric="f1")], task=task),
        tmp_path / "facts" / "run.json",
    )
    done = CliRunner().invoke(app, [f"{path}#a", f"{path}#b"])
    assert done.exit_code == 3
    assert "judge exact against f1" in done.stdout


def test_a_run_is_its_folder_and_an_interrupted_one_is_told_from_none(tmp_path: Path) -> None:
    found: ResultFile = result_file()
    write(found, tmp_path / "done" / "result.json")
    assert open_source(str(tmp_path / "done")).found == found
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "config.json").write_text("{}")
    with pytest.raises(Interrupted, match="was interrupted"):
        open_source(str(tmp_path / "cut"))
    (tmp_path / "empty").mkdir()
    for missing in ("empty", "nowhere"):
        with pytest.raises(HarnessError, match=missing) as caught:
            open_source(str(tmp_path / missing))
        assert caught.value.exit_code == 2


def test_a_wrong_row_is_answered_with_the_right_ones(tmp_path: Path) -> None:
    path = write(result_file(), tmp_path / "facts" / "run.json")
    with pytest.raises(HarnessError, match="Did you mean 'seal'"):
        open_source(f"{path}#seall")
