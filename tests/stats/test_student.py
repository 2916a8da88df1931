"""Student's t, against printed tables, the closed form of one degree of freedom, and mpmath."""

from __future__ import annotations

from math import atan, pi

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.stats.student import critical, two_sided_p


@pytest.mark.parametrize(
    ("freedom", "level", "wanted"),
    [(1, 0.95, 12.706), (2, 0.95, 4.303), (7, 0.95, 2.365), (30, 0.99, 2.750), (4, 0.90, 2.132), (1e6, 0.95, 1.960)],
)
def test_critical_values_of_the_tables(freedom: float, level: float, wanted: float) -> None:
    assert critical(level, freedom) == pytest.approx(wanted, abs=6e-4)


@given(st.floats(0.01, 1e6))
def test_one_degree_of_freedom_is_cauchys(t: float) -> None:
    assert float(two_sided_p(t, 1)) == pytest.approx(2 * atan(1 / t) / pi, rel=1e-9)


@settings(deadline=None)
@given(st.floats(0.01, 60), st.floats(1, 5000))
def test_p_is_mpmaths(t: float, freedom: float) -> None:
    mpmath = pytest.importorskip("mpmath", reason="mpmath comes with torch, which is not installed")
    wanted = float(mpmath.betainc(freedom / 2, 0.5, 0, freedom / (freedom + t * t), regularized=True))
    assert float(two_sided_p(t, freedom)) == pytest.approx(wanted, rel=1e-8, abs=1e-290)


@settings(deadline=None)
@given(st.floats(1, 500), st.floats(0.5, 0.999))
def test_critical_undoes_p(freedom: float, level: float) -> None:
    assert float(two_sided_p(critical(level, freedom), freedom)) == pytest.approx(1 - level, rel=1e-6)


def test_p_of_whole_tables_at_once_and_of_what_is_not_finite() -> None:
    found = two_sided_p([[0.0, 2.0], [np.inf, np.nan]], 3)
    assert found[0, 0] == 1
    assert found[0, 1] == pytest.approx(0.1393, abs=1e-4)
    assert found[1, 0] == 0
    assert np.isnan(found[1, 1])
