"""The interval of every row that a judge grades includes the judge's own error, and the output says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from typer import Typer
from typer.testing import CliRunner

from harness import stats
from harness.cli.compare import command
from harness.evidence import judge_error
from harness.evidence.compare import compare
from harness.evidence.leaderboard import board, table
from harness.evidence.leaderboard.summary import summarise
from harness.evidence.result import ResultFile, Row
from harness.evidence.result_file import write
from harness.evidence.sources import Source
from harness.judges.offline import shipped
from tests.leaderboard.examples import items, result_file, row

TASK = items(contexts=200)
JUDGES = ("offline-1", "offline-2")


def _rows(low: float, high: float, metric: str) -> tuple[Row, Row]:
    return row("a", low, task=TASK, metric=metric), row("b", high, task=TASK, metric=metric)


def _source(one: Row) -> Source:
    return Source(one.method, _file(one), one)


def _file(*rows: Row) -> ResultFile:
    return result_file(rows, task=TASK)


@pytest.mark.parametrize("judge", JUDGES)
def test_a_difference_that_the_judge_alone_can_make_is_undecided(judge: str) -> None:
    """Five points over 600 queries and five seeds are beyond noise under a measure, and within an offline judge."""
    by_measure = compare(*map(_source, _rows(0.40, 0.45, "exact")))
    by_judge = compare(*map(_source, _rows(0.40, 0.45, judge)))
    assert by_measure.verdict == "better"
    assert by_judge.verdict == "inconclusive"
    assert by_judge.difference == by_measure.difference
    assert by_judge.needed is None, "no number of contexts narrows the judge's error"
    assert by_judge.ci95 is not None
    assert by_measure.ci95 is not None
    assert by_judge.ci95[0] < by_measure.ci95[0] < by_measure.ci95[1] < by_judge.ci95[1]
    assert compare(*map(_source, _rows(0.40, 0.60, judge))).verdict == "better"


@pytest.mark.parametrize("judge", JUDGES)
def test_the_output_says_so(judge: str, tmp_path: Path) -> None:
    path = write(_file(*_rows(0.4, 0.45, judge)), tmp_path / "facts" / "run.json")
    app = Typer()
    app.command()(command)
    printed = CliRunner().invoke(app, [f"{path}#a", f"{path}#b"]).stdout
    assert f"{judge} counts" in printed
    assert "fewer than gpt-4.1 on average" in printed
    assert "points may be the judge's own" in printed
    console = Console(width=400)
    with console.capture() as shown:
        console.print(table.render(_file(*_rows(0.4, 0.45, judge))))
    assert shown.get().count(f"{judge} counts") == 1, "rows of which the same is said stand together"
    lines = board.build(tmp_path)[0].lines
    assert all(any(f"{judge} counts" in note for note in line.notes) for line in lines)


@pytest.mark.parametrize("judge", JUDGES)
def test_the_interval_of_a_score_speaks_of_the_reference(judge: str) -> None:
    one = row("a", 0.4, task=TASK, metric=judge)
    graded, exact = (
        summarise(_file(replace(one, conditions={**one.conditions, "metric": name})))[0] for name in (judge, "exact")
    )
    error = shipped(judge).error
    assert error is not None
    assert graded.score == exact.score
    for summary in (graded, exact):
        assert summary.low is not None
        assert summary.high is not None
    assert (graded.high or 0) - (graded.low or 0) > (exact.high or 0) - (exact.low or 0) + 2 * error.spread
    middle = ((graded.low or 0) + (graded.high or 0)) / 2
    assert middle == pytest.approx((exact.score or 0) - error.bias, abs=0.01)


def test_ranks_need_more_than_the_judges_spread() -> None:
    def ranks(low: float, high: float, metric: str) -> list[int | None]:
        return [one.rank for one in summarise(_file(*_rows(low, high, metric)))]

    assert ranks(0.40, 0.45, "exact") == [2, 1]
    assert ranks(0.40, 0.45, "offline-2") == [1, 1]
    assert ranks(0.40, 0.60, "offline-2") == [2, 1]


def test_measures_and_remote_judges_are_left_as_they_are() -> None:
    for metric in ("exact", "f1", "contains", "openai:gpt-4.1", "recorded GPT-4.1 verdicts"):
        one, other = _rows(0.4, 0.45, metric)
        found = stats.Difference(0.05, stats.Interval(0.01, 0.09), 0.01)
        assert judge_error.of_difference(found, one, other) == found
        assert judge_error.of_score(0.4, stats.Interval(0.3, 0.5), one) == stats.Interval(0.3, 0.5)
        assert judge_error.notes(one, other) == []


def test_another_judge_on_either_side_moves_the_interval_by_its_bias() -> None:
    """A forced comparison: answers that the offline judge misses are not a difference between the methods."""
    one, other = row("a", 0.4, task=TASK, metric="offline-1"), row("b", 0.4, task=TASK, metric="openai:gpt-4.1")
    found = judge_error.of_difference(stats.Difference(0.045, stats.Interval(0.025, 0.065), 0.001), one, other)
    error = shipped("offline-1").error
    assert error is not None
    middle = (found.interval.low + found.interval.high) / 2
    assert middle == pytest.approx(0.045 + error.bias, abs=1e-9)
    assert found.value == 0.045
    assert found.p > 0.5


@given(st.floats(-0.5, 0.5), st.floats(0.001, 0.3), st.floats(1e-4, 1))
def test_the_judge_never_makes_a_difference_surer(value: float, half: float, p: float) -> None:
    one, other = row("a", 0.4, task=TASK, metric="offline-2"), row("b", 0.4, task=TASK, metric="offline-2")
    before = stats.Difference(value, stats.Interval(value - half, value + half), p)
    after = judge_error.of_difference(before, one, other)
    assert after.p >= before.p
    assert after.interval.low <= before.interval.low
    assert after.interval.high >= before.interval.high
    assert after.interval.high - value >= judge_error.limit(one, other)


def test_the_range_holds_a_further_arm() -> None:
    """Leave one arm out: the range of the others holds its bias nearly as often as it says, and so for pairs."""
    import json
    from itertools import combinations

    from harness.judges.offline import shipped_text

    for judge in JUDGES:
        biases = list(json.loads(shipped_text(judge))["error"]["by_arm"].values())
        held = [judge_error.covers(biases[:at] + biases[at + 1 :], bias) for at, bias in enumerate(biases)]
        assert sum(held) >= 0.9 * len(held)
        one = row("a", 0.4, task=TASK, metric=judge)
        pairs = [abs(x - y) <= judge_error.limit(one, one) for x, y in combinations(biases, 2)]
        assert sum(pairs) >= 0.94 * len(pairs)
