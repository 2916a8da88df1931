"""Which rounds' weights have to stay while an outer loop runs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.runs.arm import choosable, choose

SCORES = st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 0.75]), st.booleans()), min_size=1, max_size=8)


@given(scores=SCORES, rule=st.sampled_from(["validation", "last"]), mended=st.booleans())
def test_a_round_that_is_chosen_was_never_given_up(scores: list[tuple[float, bool]], rule: str, mended: bool) -> None:
    """A score may be missing at first (an error) and be computed on resume: the round is kept in either case."""
    then = [None if lost else value for value, lost in scores]
    end = [value for value, _ in scores] if mended else then
    chosen = choose(end, rule)
    assert chosen is not None
    for count in range(chosen + 1, len(scores) + 1):
        assert chosen in choosable(then[:count], rule, True)
        if mended:
            assert chosen in choosable(end[:count], rule, True)


@pytest.mark.parametrize(
    ("scores", "rule", "validates", "kept"),
    [
        ([0.1, 0.3, 0.2], "validation", True, {1}),
        ([0.1, 0.3, 0.3], "validation", True, {1}),
        ([0.1, 0.3, 0.2], "last", True, {2}),
        ([None, None, None], "validation", False, {2}),
        ([0.1, 0.3, None, 0.2], "validation", True, {1, 2, 3}),
    ],
)
def test_what_stays_is_little(scores: list[float | None], rule: str, validates: bool, kept: set[int]) -> None:
    assert choosable(scores, rule, validates) == kept
