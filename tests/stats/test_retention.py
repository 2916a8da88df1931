"""Figures of retention matrices: the formulas cell by cell, and that a missing cell is never a zero."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.stats.retention import NAMES, figures

NAN = float("nan")


@st.composite
def matrices(draw: st.DrawFn) -> np.ndarray:
    edits = draw(st.integers(1, 5))
    cell = st.floats(-5, 1, allow_nan=False)
    return np.array([[draw(cell) for _ in range(edits)] for _ in range(edits + 1)])


@given(matrices())
def test_the_formulas(r: np.ndarray) -> None:
    t = r.shape[1]
    found = figures(r)
    one = range(1, t + 1)
    mean = [sum(values) / len(values) if values else None for values in (
        [r[0, j - 1] for j in one],
        [r[j, j - 1] for j in one],
        [r[t, j - 1] for j in one],
        [r[t, j - 1] - r[j, j - 1] for j in one if j < t],
        [r[j - 1, j - 1] - r[0, j - 1] for j in one if j > 1],
        [max(r[i, j - 1] for i in range(j, t + 1)) - r[t, j - 1] for j in one if j < t],
        [r[t, j - 1] - r[0, j - 1] for j in one],
    )]  # fmt: skip
    for name, expected in zip(NAMES, mean, strict=True):
        assert getattr(found, name) == (expected if expected is None else pytest.approx(expected)), name
    if found.backward is not None and found.forgetting is not None:
        assert found.forgetting >= -found.backward - 1e-9, "the best is at least what was just learnt"


@given(matrices(), st.data())
def test_a_figure_whose_cell_is_missing_is_none_and_the_others_stay(r: np.ndarray, data: st.DataObject) -> None:
    t = r.shape[1]
    i, j = data.draw(st.integers(0, t)), data.draw(st.integers(0, t - 1))
    holed = r.copy()
    holed[i, j] = NAN
    whole, found = vars(figures(r)), vars(figures(holed))
    needs = {
        "base": i == 0,
        "learning": i == j + 1,
        "final": i == t,
        "backward": j < t - 1 and i in (j + 1, t),
        "forward": j > 0 and i in (j, 0),
        "forgetting": j < t - 1 and i > j,
        "gain": i in (0, t),
    }
    for name, gone in needs.items():
        assert found[name] == (None if gone else whole[name]), name


def test_unmet_contexts_leave_what_needs_none_of_them() -> None:
    """The published matrices: nothing above the diagonal, so no forward transfer."""
    r = np.array([[0.3, 0.3, 0.4], [0.6, NAN, NAN], [0.5, 0.7, NAN], [0.2, 0.4, 0.9]])
    found = figures(r)
    assert found.forward is None
    assert found.backward == pytest.approx(-0.35)
    assert found.final == pytest.approx(0.5)


@pytest.mark.parametrize("shape", [(3, 3), (2, 3), (1, 0), (4,)])
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="retention matrix"):
        figures(np.zeros(shape))
