"""The statistics, against figures worked out by hand, from scipy, or from the published logs."""

from __future__ import annotations

import random
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import stats

binary = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=60)


def _table(chance: float, *, seeds: int, contexts: int = 60, per: int = 4, draw: int = 0) -> stats.Clustered:
    rng = random.Random(f"{chance}/{draw}")
    scores = [[float(rng.random() < chance) for _ in range(contexts * per)] for _ in range(seeds)]
    return stats.cluster(scores, [per] * contexts, range(seeds))


def test_macro_and_micro_are_different_means() -> None:
    scores, sizes = [[1.0, 0.0, 0.0, 0.0]], [1, 3]
    assert stats.cluster(scores, sizes, [0], "macro").mean == 0.5
    assert stats.cluster(scores, sizes, [0], "micro").mean == 0.25


def test_a_score_without_value_is_left_out_and_not_a_zero() -> None:
    table = stats.cluster([[1.0, None, 0.0, None]], [2, 2], [0])
    assert table.mean == 0.5
    assert stats.cluster([[1.0, 1.0, None, None]], [2, 2], [0]).mean == 1.0


def test_nothing_scored_is_not_a_number() -> None:
    assert np.isnan(stats.cluster([[None, None]], [1, 1], [0]).mean)


def test_a_seed_of_which_nothing_was_scored_is_left_out() -> None:
    whole, nothing = [1.0, 0.0, 0.5], [None, None, None]
    table = stats.cluster([whole, nothing], [1, 1, 1], [7, 8])
    assert table.seeds == (7,)
    assert stats.mean_interval(table) == stats.mean_interval(stats.cluster([whole], [1, 1, 1], [7]))


def test_the_interval_is_that_of_the_textbook_for_one_seed() -> None:
    table = _table(0.4, seeds=1, contexts=200)
    means = table.values[0]
    half = 1.96 * means.std(ddof=1) / np.sqrt(len(means))
    found = stats.mean_interval(table)
    assert found.low == pytest.approx(means.mean() - half, abs=0.004)
    assert found.high == pytest.approx(means.mean() + half, abs=0.004)


def test_run_to_run_noise_widens_the_interval() -> None:
    rng = np.random.default_rng(0)
    base = rng.random((1, 200))
    quiet = stats.Clustered(np.repeat(base, 5, axis=0), np.ones((5, 200)), tuple(range(5)))
    shifts = np.array([-0.1, -0.05, 0.0, 0.05, 0.1])[:, None]
    noisy = stats.Clustered(base + shifts, np.ones((5, 200)), tuple(range(5)))
    assert noisy.mean == pytest.approx(quiet.mean)
    narrow, wide = stats.mean_interval(quiet), stats.mean_interval(noisy)
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


@pytest.mark.parametrize(
    ("of_seed", "of_cell"), [(0.05, 0.0), (0.0, 0.2), (0.02, 0.1)], ids=["seeds move all", "cells move", "both"]
)
def test_intervals_hold_the_truth_as_often_as_they_say(of_seed: float, of_cell: float) -> None:
    """Crossed effects of 40 contexts and 4 seeds, two rows with seeds of their own: 95% within simulation error."""
    rng = np.random.default_rng(3)

    def row(level: np.ndarray) -> stats.Clustered:
        noise = rng.normal(0, of_seed, (4, 1)) + rng.normal(0, of_cell, (4, 40))
        return stats.Clustered(level + noise, np.ones((4, 40)), (0, 1, 2, 3))

    held, width = 0, []
    for _ in range(300):
        level = rng.normal(0.5, 0.2, 40)
        found = stats.difference(row(level), row(level - 0.03))
        held += found.interval.low <= -0.03 <= found.interval.high
        width.append(found.interval.high - found.interval.low)
    assert 0.92 <= held / 300 <= 0.99
    error = np.sqrt(2 * (of_seed**2 / 4 + of_cell**2 / 160))
    assert np.median(width) < 1.5 * 2 * 1.96 * error


def test_seeds_are_paired_only_where_they_move_both_rows_alike() -> None:
    rng = np.random.default_rng(4)
    level = rng.random((1, 50))
    noise, other = rng.normal(0, 0.1, (3, 50)), rng.normal(0, 0.1, (3, 50))
    drift = np.array([[-0.2], [0.0], [0.2]])
    ones, seeds = np.ones((3, 50)), (0, 1, 2)
    a = stats.Clustered(level + noise + drift, ones, seeds)
    alike = stats.Clustered(level + noise + drift - 0.05, ones, seeds)
    apart = stats.Clustered(level + other - drift, ones, seeds)
    assert stats.shares_draws(a, alike)
    assert not stats.shares_draws(a, apart)
    assert not stats.shares_draws(a, stats.Clustered(alike.values, ones, (3, 4, 5)))
    found = stats.difference(a, alike)
    assert found.interval.high - found.interval.low < 0.01
    wide = stats.difference(a, apart)
    assert wide.interval.high - wide.interval.low > 0.3


def test_means_of_two_seeds_that_agree_by_chance_are_no_evidence_of_shared_draws() -> None:
    """Two seeds' means agree in sign in every second pair of rows; treated as shared, they would cancel their noise."""
    rng = np.random.default_rng(5)
    ones, drift = np.ones((2, 50)), np.array([[-0.2], [0.2]])
    a, b = (stats.Clustered(0.5 + drift + rng.normal(0, 0.1, (2, 50)), ones, (0, 1)) for _ in range(2))
    assert not stats.shares_draws(a, b)
    assert stats.difference(a, b).interval.high > 0.3


def test_a_row_does_not_differ_from_itself_and_other_contexts_might() -> None:
    a = _table(0.5, seeds=3)
    found = stats.difference(a, a)
    assert (found.value, found.p) == (0, 1)
    assert -0.07 < found.interval.low < 0 < found.interval.high < 0.07


def test_rows_over_other_contexts_do_not_mix() -> None:
    with pytest.raises(ValueError, match="different numbers of contexts"):
        stats.difference(_table(0.5, seeds=1), _table(0.5, seeds=1, contexts=10))


@settings(deadline=None)
@given(binary)
def test_mcnemar_is_the_exact_binomial_test(pairs: list[tuple[int, int]]) -> None:
    scipy_stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    a, b = [float(x) for x, _ in pairs], [float(y) for _, y in pairs]
    lost, won = sum(x > y for x, y in pairs), sum(x < y for x, y in pairs)
    wanted = scipy_stats.binomtest(min(lost, won), lost + won, 0.5).pvalue if lost + won else 1.0
    assert stats.mcnemar(a, b) == pytest.approx(wanted)


def test_mcnemar_by_hand_and_where_it_does_not_apply() -> None:
    a, b = [1.0] * 2 + [0.0] * 8, [0.0] * 2 + [1.0] * 8
    assert stats.mcnemar(a, b) == pytest.approx(2 * sum(comb(10, k) for k in range(3)) / 2**10)
    assert stats.mcnemar([0.5], [1.0]) is None
    assert stats.mcnemar([None, 1.0], [1.0, 1.0]) == 1.0


def test_holm_by_hand() -> None:
    assert stats.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert stats.holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_between_raw_and_bonferroni_and_keeps_the_order(p_values: list[float]) -> None:
    adjusted = stats.holm(p_values)
    assert all(p <= q <= min(1, len(p_values) * p) + 1e-12 for p, q in zip(p_values, adjusted, strict=True))
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    assert [adjusted[i] for i in order] == sorted(adjusted)


def test_needed_contexts_are_enough_and_fewer_are_not() -> None:
    a, b = _table(0.40, seeds=1, contexts=100), _table(0.45, seeds=1, contexts=100, draw=1)
    need = stats.needed(a, b, 0.05)
    assert need.contexts is not None
    assert need.seeds is None
    spread = float(np.std((b.values - a.values)[0], ddof=1))
    enough = ((1.959964 + 0.841621) * spread / 0.05) ** 2
    assert enough <= need.contexts < enough + 1


def test_no_number_of_contexts_beats_run_to_run_noise() -> None:
    rng = np.random.default_rng(1)
    shifts = rng.normal(0, 0.1, (3, 1))
    a = stats.Clustered(np.full((3, 50), 0.5) + shifts, np.ones((3, 50)), (0, 1, 2))
    b = stats.Clustered(np.full((3, 50), 0.5) - shifts, np.ones((3, 50)), (0, 1, 2))
    need = stats.needed(a, b, 0.01)
    assert need.contexts is None
    assert need.seeds is not None
    assert need.seeds > 3


def test_reliability_of_pure_noise_is_near_zero_and_of_pure_signal_one() -> None:
    rng = np.random.default_rng(2)
    noise = rng.normal(size=(300, 5, 3))
    found = stats.reliability(noise.tolist())
    assert found is not None
    assert found.interval.low < 0 < found.interval.high
    signal = np.repeat(rng.normal(size=(20, 5, 1)), 3, axis=2)
    assert (exact := stats.reliability(signal.tolist())) is not None
    assert exact.value == pytest.approx(1)


def test_reliability_without_repeats_is_none() -> None:
    assert stats.reliability([[[0.5], [0.7]]]) is None
    assert stats.reliability([[[0.5, 0.5], [0.5, 0.5]]]) is None


def test_agreement() -> None:
    ours, theirs = [True, True, False, False], [True, False, False, False]
    found = stats.agreement(ours, theirs, ["a", "a", "b", "b"])
    assert (found.n, found.accuracy, found.kappa) == (4, 0.75, 0.5)
    assert stats.kappa_counts(5, 0, 0, 0) == 0.0
