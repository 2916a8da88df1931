"""Advantages against the formulas written out."""

from __future__ import annotations

from statistics import fmean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.trainers.advantages import Baseline, Scale, group_advantages

BASELINES: list[Baseline] = ["mean", "others"]
SCALES: list[Scale] = ["off", "group", "batch"]
reward = st.one_of(st.none(), st.floats(-5, 5).map(lambda value: round(value, 3)))
groups = st.lists(st.lists(reward, max_size=6), min_size=1, max_size=4)


@given(groups, st.sampled_from(BASELINES), st.sampled_from(SCALES))
def test_they_are_what_the_papers_write(rewards: list[list[float | None]], baseline: Baseline, scale: Scale) -> None:
    found = group_advantages(rewards, baseline=baseline, scale=scale)
    everything = [value for group in rewards for value in group if value is not None]
    for group, row in zip(rewards, found, strict=True):
        known = [value for value in group if value is not None]
        for place, (value, advantage) in enumerate(zip(group, row, strict=True)):
            if value is None:
                assert advantage is None
                continue
            if len(set(known)) < 2:
                assert advantage == 0  # to the last bit
                continue
            others = [one for at, one in enumerate(group) if at != place and one is not None]
            wanted = value - (fmean(known) if baseline == "mean" else fmean(others))
            wanted /= {"off": 1.0, "group": stdev(known), "batch": stdev(everything)}[scale]
            assert advantage == pytest.approx(wanted, abs=1e-9)


@given(groups, st.sampled_from(BASELINES), st.sampled_from(["off", "group"]))
def test_an_unscored_member_changes_nothing_for_the_others(
    rewards: list[list[float | None]], baseline: Baseline, scale: Scale
) -> None:
    scored = [[value for value in group if value is not None] for group in rewards]
    without = group_advantages(scored, baseline=baseline, scale=scale)
    found = group_advantages(rewards, baseline=baseline, scale=scale)
    assert [[value for value in row if value is not None] for row in found] == without


def test_a_tie_is_exactly_zero_whatever_the_order_of_the_sums() -> None:
    tied = [0.1 + 0.2, 0.3, 0.3]
    for scale in SCALES:
        assert group_advantages([tied, [0.0, 1.0]], scale=scale)[0] == [0.0, 0.0, 0.0]
