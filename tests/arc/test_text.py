"""Grids are written and read in exactly one way; whatever else a model says is not a grid."""

from __future__ import annotations

import pytest
from hypothesis import given

from harness.tasks.arc import FORMS, BadGrid, Grid, Pair
from tests.arc.strategies import grids

G: Grid = ((0, 1, 2), (3, 4, 5))
PAIR = Pair(((1, 2),), ((2,), (1,)))


@given(grids(side=30))
def test_round_trip(grid: Grid) -> None:
    for form in FORMS.values():
        assert form.parse(form.answer(grid)) == grid
        assert form.parse(f"\n {form.grid(grid)} ") == grid


def test_the_compact_prompt() -> None:
    expected = "Input:\n1 2\nOutput:\n2\n1\n\nInput:\n0 1 2\n3 4 5\nOutput:\n"
    assert FORMS["compact"].prompt([PAIR], G, chat=False) == expected
    assert FORMS["compact"].prompt([PAIR], G, chat=True) == (("user", expected),)


def test_the_numpy_prompt() -> None:
    (system, shown), (user, question) = FORMS["numpy"].prompt([PAIR, PAIR], G, chat=True)
    assert (system, user) == ("system", "user")
    assert shown.splitlines()[1:] == ["[[1 2]] -> [[2]", " [1]]#"] * 2
    assert question == "[[0 1 2]\n [3 4 5]] -> "
    raw = FORMS["numpy"].prompt([PAIR], G, chat=False)
    assert raw.endswith("[[1 2]] ->\n[[2]\n [1]]#\n[[0 1 2]\n [3 4 5]] ->\n")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[[1 2]",
        "[1 2]",
        "[[1 2] [3]]",
        "[[1 12]]",
        "[[1 -2]]",
        "[[1.0 2]]",
        "the answer is [[1 2]]",
        "[[]]",
        "[[1 2]] and",
    ],
)
def test_what_is_no_numpy_grid(text: str) -> None:
    with pytest.raises(BadGrid):
        FORMS["numpy"].parse(text)


@pytest.mark.parametrize("text", ["", "1 2\n3", "1 12", "1 2\nOutput:", "12 3", "a", "1 -1", "²"])
def test_what_is_no_compact_grid(text: str) -> None:
    with pytest.raises(BadGrid):
        FORMS["compact"].parse(text)


def test_what_follows_the_end_of_an_answer_is_not_read() -> None:
    assert FORMS["numpy"].parse("[[1 2]]# [[3]]") == ((1, 2),)
    assert FORMS["compact"].parse("1 2\n\nInput:\n3") == ((1, 2),)
