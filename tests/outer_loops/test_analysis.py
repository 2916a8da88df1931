"""What is said of a reward, against numbers whose truth is known."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from harness_outer_loops import analysis
from harness_outer_loops.report import figures

CONTEXTS, CANDIDATES = 400, 5


def tables(noise: float, seeds: int = 4, correlation: float = 1.0, seed: int = 0) -> tuple[analysis.Array, ...]:
    """True values of variance 1 within contexts, a truth with noise, and a reward of that correlation and noise."""
    rng = np.random.default_rng(seed)
    shape = (CONTEXTS, CANDIDATES, 1)
    level = rng.normal(0, 3, (CONTEXTS, 1, 1))  # differences between contexts must not count
    true = rng.normal(0, 1, shape)
    own = correlation * true + np.sqrt(1 - correlation**2) * rng.normal(0, 1, shape)
    truth = level + true + rng.normal(0, 1, (CONTEXTS, CANDIDATES, seeds))
    reward = 10 - level + own + rng.normal(0, noise, (CONTEXTS, CANDIDATES, seeds))
    return reward, truth, true[:, :, 0]


@pytest.mark.parametrize("noise", [0.5, 1.0, 3.0])
def test_reliability_is_the_share_that_is_not_noise(noise: float) -> None:
    reward, _, _ = tables(noise)
    for n in (1, 3, 9):
        found = analysis.reliability(reward, n)
        wanted = n / (n + noise**2)
        assert found.value == pytest.approx(wanted, abs=0.04)
        assert found.low is not None
        assert found.high is not None
        assert found.low < wanted < found.high


@pytest.mark.parametrize("correlation", [0.0, 0.5, 1.0])
def test_validity_is_free_of_the_noise_of_both(correlation: float) -> None:
    reward, truth, _ = tables(1.5, correlation=correlation)
    found = analysis.validity(reward, truth, same_seeds=False)
    assert found.value == pytest.approx(correlation, abs=0.08)


def test_noise_that_two_measures_of_one_update_share_is_no_validity() -> None:
    rng = np.random.default_rng(1)
    shared = rng.normal(0, 1, (CONTEXTS, CANDIDATES, 4))
    a, b = rng.normal(0, 1, (2, CONTEXTS, CANDIDATES, 1))
    one, other = shared + a, shared + b
    assert analysis.validity(one, other, same_seeds=True).value == pytest.approx(0, abs=0.08)
    assert (analysis.validity(one, other, same_seeds=False).value or 0) > 0.15


def test_picks_are_valued_by_other_seeds_and_over_all_choices_of_seeds() -> None:
    rng = np.random.default_rng(2)
    reward, truth = rng.normal(size=(2, 3, 4, 3))
    for n in (1, 2):
        values = []
        for chosen in combinations(range(3), n):
            rest = [j for j in range(3) if j not in chosen]
            for c in range(3):
                best = int(np.argmax(reward[c][:, list(chosen)].sum(axis=1)))
                values.append(np.mean([truth[c, best, j] for j in rest]))
        found = analysis.picked(reward, truth, n, same_seeds=True)
        assert found.value == pytest.approx(float(np.mean(values)))


def test_pure_noise_picks_no_better_than_chance_and_the_best_is_not_chosen_for_its_luck() -> None:
    rng = np.random.default_rng(3)
    noise, truth = rng.normal(size=(2, 2000, CANDIDATES, 4))
    found = analysis.picked(noise, truth, 1, same_seeds=False)
    assert found.value == pytest.approx(analysis.random_pick(truth), abs=0.05)
    assert analysis.best_pick(truth) == pytest.approx(0, abs=0.05)


def test_a_tie_is_worth_the_mean_of_those_tied() -> None:
    truth = np.array([[[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]])
    tied = np.array([[[0.5], [0.5], [0.0]]])
    assert analysis.picked(tied, truth, 1, same_seeds=False).value == 0.5


def test_a_reward_without_seeds_has_no_noise_and_one_that_never_varies_no_validity() -> None:
    truth = np.random.default_rng(4).normal(size=(6, 3, 3))
    assert analysis.reliability(truth[:, :, :1], 3).value == 1
    flat = figures(np.ones((6, 3, 1)), truth)
    assert flat["validity"]["value"] is None
    assert flat["pick"]["1"]["value"] == pytest.approx(flat["random"])


def test_disagreements_are_the_largest_first() -> None:
    truth = np.zeros((2, 3, 2))
    truth[:, 0] = 1.0
    reward = truth.copy()
    reward[1, 2] = 5.0
    [first, *_] = analysis.disagreements(reward, truth, 3)
    assert first == (1, 2, 5.0, 0.0)
