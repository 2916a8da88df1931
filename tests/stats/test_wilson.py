"""The score interval of a proportion, against published figures and its definition."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.stats import wilson


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"), [(29, 40, 0.572, 0.839), (8, 40, 0.105, 0.348), (0, 8, 0.0, 0.324)]
)
def test_known_intervals(successes: int, trials: int, low: float, high: float) -> None:
    """SEAL's ARC figures: 72.5% and 20% of 40 pairs, and 0 of 8 tasks in context."""
    found = wilson(successes, trials)
    assert (round(found.low, 3), round(found.high, 3)) == (low, high)


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_bounds_are_just_not_rejected(counts: tuple[int, int]) -> None:
    """At a bound p0 inside (0, 1) the score test |k/n - p0| / sqrt(p0 (1 - p0) / n) equals 1.96."""
    successes, trials = counts
    found = wilson(successes, trials)
    assert 0 <= found.low <= successes / trials <= found.high <= 1
    for bound in (found.low, found.high):
        if 1e-9 < bound < 1 - 1e-9:
            z = abs(successes / trials - bound) / (bound * (1 - bound) / trials) ** 0.5
            assert z == pytest.approx(1.959964, abs=1e-4)


def test_nonsense_is_refused() -> None:
    for successes, trials in ((1, 0), (3, 2), (-1, 2)):
        with pytest.raises(ValueError, match="successes in"):
            wilson(successes, trials)
