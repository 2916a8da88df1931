"""Grids and lessons for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from harness.tasks.arc import Grid, Lesson, Pair


@st.composite
def grids(draw: st.DrawFn, side: int = 8) -> Grid:
    rows, columns = draw(st.integers(1, side)), draw(st.integers(1, side))
    row = st.tuples(*[st.integers(0, 9)] * columns)
    return draw(st.tuples(*[row] * rows))


pairs = st.builds(Pair, grids(), grids())
lessons = st.builds(Lesson, st.lists(pairs, max_size=4).map(tuple), pairs)
