"""Few contexts, few seeds: no verdict where others cannot be inferred, and no interval without width."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer import Typer
from typer.testing import CliRunner

from harness import stats
from harness.cli.compare import command as compare_command
from harness.cli.gate import command as gate_command
from harness.evidence.compare import compare, compare_all
from harness.evidence.gate.verdict import check_all
from harness.evidence.leaderboard.summary import summarise
from harness.evidence.result import Row, TaskItems, make_row
from harness.evidence.result_file import write
from harness.evidence.sources import Source
from tests.leaderboard.examples import items, result_file, row


def _source(one: Row, task: TaskItems) -> Source:
    return Source(one.method, result_file([one], task=task), one)


def _given(method: str, scores: list[list[float]], task: TaskItems, **costs: float) -> Row:
    base = row(method, 0.5, task=task, seeds=range(len(scores)))
    return make_row(
        scores=scores, status=["o" * task.queries] * len(scores), queries=task.queries, method=method, plugin="p",
        card=base.card, protocol="single", editor_model="", start_model="lab", conditions=base.conditions,
        seeds=base.seeds,
        costs=costs or base.costs,
    )  # fmt: skip


def _asked_again(method: str, chance: float, task: TaskItems, times: int = 3, **costs: float) -> Row:
    """One set of answers under the names of several seeds."""
    once = row(method, chance, task=task, seeds=(0,))
    return _given(method, [list(once.scores[0])] * times, task, **costs)  # type: ignore[arg-type]


# --- contexts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_one_context_gives_no_verdict(seeds: tuple[int, ...]) -> None:
    """Six queries of one context, two of them won: it was `better +33.3 [+33.3, +33.3] p 0.0002`."""
    task = items(contexts=1, per_context=6)
    a = _given("a", [[0, 0, 0, 0, 0, 0]] * len(seeds), task)
    b = _given("b", [[1, 1, 0, 0, 0, 0]] * len(seeds), task)
    found = compare(_source(a, task), _source(b, task), accept_one_seed=True)
    assert found.verdict == "inconclusive"
    assert found.why == "1 context: fewer than 8 do not speak for others"
    assert (found.p, found.ci95) == (1.0, (-1.0, 1.0))
    assert found.difference == pytest.approx(1 / 3)


def test_seven_contexts_give_no_verdict_and_eight_do() -> None:
    for contexts, verdict in ((7, "inconclusive"), (8, "better")):
        task = items(contexts=contexts, per_context=6)
        a, b = row("a", 0.1, task=task), row("b", 0.9, task=task)
        assert compare(_source(a, task), _source(b, task)).verdict == verdict
        ranks = [one.rank for one in summarise(result_file([a, b], task=task))]
        assert ranks == ([2, 1] if verdict == "better" else [None, None])


def test_eight_contexts_take_students_t() -> None:
    """By hand: differences of 0.1 to 0.8 in eight contexts of one seed, 7 degrees of freedom."""
    gaps = [0.1 * place for place in range(1, 9)]
    a, b = [stats.cluster([scores], [1] * 8, [0]) for scores in ([0.0] * 8, gaps)]
    found = stats.difference(a, b)
    error = 0.244949 / 8**0.5
    assert found.interval.low == pytest.approx(0.45 - 2.364624 * error, abs=1e-5)
    assert found.interval.high == pytest.approx(0.45 + 2.364624 * error, abs=1e-5)
    assert found.p == pytest.approx(0.00126, abs=2e-5)


def test_contexts_that_all_agree_leave_some_doubt() -> None:
    task = items(contexts=8, per_context=1)
    found = stats.difference(*(stats.cluster([[value] * 8] * 2, [1] * 8, (0, 1), learnt=False) for value in (0.0, 1.0)))
    assert task.queries == 8
    assert 1e-6 < found.p < 1e-3
    assert found.interval.low < 0.9


# --- rows of zeros ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("per", "contexts"), [(2, 1), (1, 2)])
def test_two_queries_give_no_interval_without_width(per: int, contexts: int) -> None:
    """Two queries never answered right: it was `0.0 [0.0, 0.0]`, and `+0.0 [+0.0, +0.0]` between two such rows."""
    task = items(contexts=contexts, per_context=per)
    a, b = (_given(name, [[0.0, 0.0]] * 3, task) for name in "ab")
    for shown in summarise(result_file([a, b], task=task)):
        assert shown.low == 0.0
        assert shown.high > 0.5, "two wrong answers say little of the third"
        assert shown.rank is None
    found = compare(_source(a, task), _source(b, task))
    assert found.verdict == "inconclusive"
    assert found.ci95 is not None
    assert found.ci95[0] < -0.5
    assert found.ci95[1] > 0.5


@given(st.integers(1, 40), st.integers(1, 3), st.integers(1, 3), st.sampled_from([0.0, 1.0]))
def test_a_row_of_zeros_or_ones_has_an_interval(contexts: int, per: int, seeds: int, value: float) -> None:
    table = stats.cluster([[value] * contexts * per] * seeds, [per] * contexts, range(seeds))
    found = stats.mean_interval(table)
    assert found.low <= value <= found.high
    assert found.high - found.low > 1 / (contexts + 4)
    assert 0 <= found.low < found.high <= 1


@given(st.lists(st.lists(st.floats(0, 1), min_size=9, max_size=9), min_size=1, max_size=4))
def test_an_interval_holds_the_score_and_stays_within_zero_and_one(scores: list[list[float]]) -> None:
    table = stats.cluster(scores, [1] * 9, range(len(scores)))
    found = stats.mean_interval(table)
    assert 0 <= found.low <= table.mean + 1e-9
    assert table.mean - 1e-9 <= found.high <= 1


# --- seeds -----------------------------------------------------------------------------------------------------------


def test_one_seed_gives_no_verdict_unless_it_is_accepted() -> None:
    task = items(contexts=60)
    low, high = (row(name, chance, task=task, seeds=(0,)) for name, chance in (("a", 0.2), ("b", 0.7)))
    found = compare(_source(low, task), _source(high, task))
    assert found.verdict == "inconclusive"
    assert "one seed in A and one seed in B" in found.why
    assert "--accept-one-seed" in found.why
    assert compare(_source(low, task), _source(high, task), accept_one_seed=True).verdict == "better"
    several = row("c", 0.7, task=task)
    assert "one seed in A:" in compare(_source(low, task), _source(several, task)).why
    assert compare(_source(row("d", 0.2, task=task), task), _source(several, task)).verdict == "better"


def test_seeds_with_identical_scores_count_as_one() -> None:
    task = items(contexts=60)
    a, b = _asked_again("a", 0.2, task), _asked_again("b", 0.7, task)
    found = compare(_source(a, task), _source(b, task))
    assert found.verdict == "inconclusive"
    assert "3 seeds with identical scores in A, which count as one" in found.why
    one, other, third = summarise(result_file([a, b, row("c", 0.9, task=task)], task=task))
    assert (one.rank, other.rank, third.rank) == (None, None, 1)
    assert one.why_unranked == "3 seeds with identical scores count as 1, unranked"


def test_seeds_of_a_procedure_without_chance_need_not_differ() -> None:
    """The bare model, or the passage in its prompt: nothing is trained, written or updated."""
    task = items(contexts=60)
    nothing = {"edit_tokens": 0, "outer_s": 0, "update_s": 0.001}
    bare = _asked_again("none", 0.2, task, **nothing)
    learnt = row("seal", 0.7, task=task)
    assert compare(_source(bare, task), _source(learnt, task)).verdict == "better"
    assert [one.rank for one in summarise(result_file([bare, learnt], task=task))] == [2, 1]
    for change in ({"meta_s": 5085.3}, {"outer_s": 3.0}, {"edit_tokens": 7}, {"update_s": 3.2}):
        trained = replace(bare, costs={**nothing, **change})
        assert compare(_source(trained, task), _source(learnt, task)).verdict == "inconclusive"
    written = replace(bare, editor_model="lab")
    unrecorded = replace(bare, costs={})
    once = _asked_again("none", 0.2, task, times=1, **nothing)
    for doubtful in (written, unrecorded, once):
        assert compare(_source(doubtful, task), _source(learnt, task)).verdict == "inconclusive"


def test_a_seed_that_occurs_twice_adds_no_knowledge() -> None:
    scores = [[1.0, 0.0, 1.0] * 10, [0.0, 1.0, 1.0] * 10]
    twice = stats.cluster([*scores, scores[1]], [1] * 30, (0, 1, 2))
    assert twice.draws == 2
    wide, narrow = stats.mean_interval(twice), stats.mean_interval(stats.cluster(scores, [1] * 30, (0, 1)))
    assert wide.high - wide.low >= 0.99 * (narrow.high - narrow.low)


def test_rows_that_cannot_be_decided_do_not_weaken_the_others() -> None:
    task = items(contexts=60)
    base, better = _source(row("a", 0.4, task=task), task), _source(row("b", 0.55, task=task), task)
    alone = [_source(row(f"once{place}", 0.5, task=task, seeds=(0,)), task) for place in range(20)]
    found = compare_all(base, [better, *alone])
    assert found[0].p == found[0].p_unadjusted
    assert {one.verdict for one in found[1:]} == {"inconclusive"}


# --- the gate and the commands ---------------------------------------------------------------------------------------


def test_the_gate_fails_nothing_on_one_seed_or_few_contexts() -> None:
    for contexts, seeds in ((60, (0,)), (7, (0, 1, 2))):
        task = items(contexts=contexts)
        base, head = (result_file([row("m", chance, task=task, seeds=seeds)], task=task) for chance in (0.9, 0.1))
        [check] = check_all(base, head)
        assert check.verdict == "inconclusive"
        assert check.reason == check.why != ""
        [accepted] = check_all(base, head, accept_one_seed=True)
        assert accepted.verdict == ("regressed" if contexts == 60 else "inconclusive")


def test_the_commands_say_why_and_take_the_option(tmp_path: Path) -> None:
    task = items(contexts=60)
    rows = [row(name, chance, task=task, seeds=(0,)) for name, chance in (("a", 0.9), ("b", 0.1))]
    paths = [
        str(write(result_file([replace(one, method="m")], task=task), tmp_path / one.method / "r.json")) for one in rows
    ]
    compare_app, gate_app = Typer(), Typer()
    compare_app.command()(compare_command)
    gate_app.command()(gate_command)
    said = CliRunner().invoke(compare_app, paths)
    assert "verdict  inconclusive: one seed in A and one seed in B" in said.stdout
    assert json.loads(CliRunner().invoke(compare_app, [*paths, "--json"]).stdout)["why"].startswith("one seed in A")
    assert "verdict  worse" in CliRunner().invoke(compare_app, [*paths, "--accept-one-seed"]).stdout
    out = ["--out", str(tmp_path / "g.json"), "--junit", str(tmp_path / "g.xml"), "--summary", str(tmp_path / "g.md")]
    gate = ["--baseline", paths[0], "--run", paths[1], *out]
    done = CliRunner().invoke(gate_app, gate)
    assert (done.exit_code, "one seed in the baseline and one seed in the run" in done.stdout) == (0, True)
    assert CliRunner().invoke(gate_app, [*gate, "--strict"]).exit_code == 5
    assert CliRunner().invoke(gate_app, [*gate, "--accept-one-seed"]).exit_code == 1


def test_help_and_the_table_agree_on_how_many_seeds_rank() -> None:
    from harness.cli.run import command as run_command
    from harness.evidence.leaderboard.table import RANK_NOTE

    app = Typer()
    app.command()(run_command)
    helped = " ".join(CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).stdout.split())
    assert f"ranked from {stats.MIN_SEEDS} that differ" in helped
    assert f"{stats.MIN_SEEDS} or more seeds that differ" in RANK_NOTE
    task = items()
    for seeds in (1, 2):
        [found] = summarise(result_file([row("m", 0.5, task=task, seeds=range(seeds))], task=task))
        assert (found.rank is None) == (seeds < stats.MIN_SEEDS)


def test_what_is_no_share_takes_students_t_uncut() -> None:
    """For nats, say, the interval is not cut at 0 or 1, and one context has no interval."""
    values = [[3.0, 5.0, 4.0, 6.0, 2.0, 4.0, 5.0, 3.0], [3.5, 5.5, 4.5, 6.5, 2.5, 4.5, 5.5, 3.5]]
    table = stats.cluster(values, [1] * 8, (0, 1))
    found = stats.mean_interval(table, bounded=False)
    assert found is not None
    assert 1 < found.low < table.mean == 4.25 < found.high
    nothing = stats.cluster([[0.0] * 8, [0.25] * 8], [1] * 8, (0, 1))
    gap = stats.difference(nothing, table, bounded=False)
    assert gap.interval.high > gap.value > 4
    once = stats.cluster([[3.0], [4.0]], [1], (0, 1))
    assert stats.mean_interval(once, bounded=False) is None
    assert stats.difference(once, once, bounded=False).interval.high == float("inf")
