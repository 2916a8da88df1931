"""ICM's objective and search: near the optimum, contradictions mended, predictions that never see their own label."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import product

import pytest
from harness_selection.coherence import (
    Annealing,
    Coherence,
    Demonstrations,
    Item,
    broken,
    contradictions,
    demonstrations,
    search,
)
from hypothesis import given, settings
from hypothesis import strategies as st

ALONE = [Item("", str(i)) for i in range(12)]


class World:
    """Items that predict each other by random couplings around hidden labels."""

    def __init__(self, seed: int, count: int = 12, salience: float = 0.6, *, mirrored: bool = False) -> None:
        rng = random.Random(seed)
        self.truth = [rng.random() < 0.5 for _ in range(count)]
        if mirrored:
            self.truth = [not self.truth[i - 1] if i % 2 else label for i, label in enumerate(self.truth)]
        sign = [1 if label else -1 for label in self.truth]
        self.pull = [
            [0.0 if i == j else salience * sign[i] * sign[j] + rng.gauss(0, 1) for j in range(count)]
            for i in range(count)
        ]
        self.asked = 0

    def score(self, asks: Sequence[tuple[int, Demonstrations]]) -> list[float]:
        self.asked += len(asks)
        return [
            sum(self.pull[item][other] if label else -self.pull[item][other] for other, label in shown) / 12
            for item, shown in asks
        ]


def best(coherence: Coherence) -> float:
    count = len(coherence.items)
    return max(coherence.utility(dict(enumerate(way))) for way in product((False, True), repeat=count))


def test_at_most_twelve_items_come_within_5_percent_of_brute_force() -> None:
    found = []
    for seed in range(4):
        world = World(seed)
        coherence = Coherence(ALONE, world.score, alpha=30, rule="none")
        found.append(search(coherence, Annealing(steps=400), seed).utility / best(coherence))
    assert min(found) >= 0.95, found


def test_with_contradictions_too() -> None:
    items = [Item(f"pair {i // 2}", str(i)) for i in range(10)]
    for seed in range(3):
        world = World(seed, 10, mirrored=True)
        coherence = Coherence(items, world.score, alpha=30, rule="mirror")
        done = search(coherence, Annealing(steps=400), seed)
        assert done.utility >= 0.95 * best(coherence)
        assert not coherence.broken(done.labels)
        assert done.utility == pytest.approx(coherence.utility(done.labels))


def test_a_salient_concept_is_found_up_to_its_sign_and_another_is_not() -> None:
    shares = []
    for seed in range(3):
        world = World(seed, salience=3.0)
        done = search(Coherence(ALONE, world.score, alpha=30, rule="none"), Annealing(steps=300), seed)
        right = sum(done.labels[i] == label for i, label in enumerate(world.truth)) / 12
        shares.append(max(right, 1 - right))
    assert min(shares) == 1.0


def test_what_counts_as_a_contradiction() -> None:
    items = [Item("q", "4"), Item("q", "4"), Item("q", "5"), Item("r", "4"), Item("", "4"), Item("", "4")]
    assert contradictions(items, "exclusive") == [(0, 1, True), (0, 2, False), (1, 2, False)]
    assert contradictions(items, "none") == [(0, 1, True)]
    pairs = contradictions(items, "exclusive")
    assert broken({0: True, 1: False}, pairs, "exclusive") == [(0, 1, True)]
    assert broken({0: True, 2: True}, pairs, "exclusive") == [(0, 2, False)]
    assert not broken({0: False, 2: False}, pairs, "exclusive")
    assert broken({0: False, 2: False}, pairs, "mirror") == [(0, 2, False)]
    assert not broken({0: True}, pairs, "mirror")


def test_a_contradiction_is_mended_the_better_way_and_never_by_calling_both_false() -> None:
    items = [Item("q", "4"), Item("q", "5"), Item("", "a"), Item("", "b")]

    def score(asks: Sequence[tuple[int, Demonstrations]]) -> list[float]:
        return [{0: -3.0, 1: -1.0}.get(item, 1.0) for item, _ in asks]

    coherence = Coherence(items, score, alpha=30, rule="exclusive")
    mended, count = coherence.repaired({0: True, 1: True, 2: True}, 10)
    assert mended == {0: False, 1: True, 2: True}
    assert count == 1
    assert coherence.repaired(mended, 10) == (mended, 0)
    assert coherence.repaired({0: True, 1: True}, 0) == ({0: True, 1: True}, 0)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.integers(0, 30), st.booleans(), min_size=1), st.integers(0, 30), st.integers(0, 6))
def test_an_item_never_sees_its_own_label(labels: dict[int, bool], item: int, most: int) -> None:
    shown = demonstrations(item, labels, most)
    assert (
        shown
        == demonstrations(item, {**labels, item: True}, most)
        == demonstrations(item, {**labels, item: False}, most)
    )
    assert all(other != item and labels[other] == label for other, label in shown)
    assert shown == tuple(sorted(shown))
    if most:
        assert len(shown) <= most
        others = [other for other in labels if other // most != item // most]
        assert len(shown) == min(most, len(others)) or not others
    else:
        assert len(shown) == len(labels.keys() - {item})


def test_a_block_reads_the_same_demonstrations_and_every_item_is_one() -> None:
    labels = dict.fromkeys(range(40), True)
    shown = {item: demonstrations(item, labels, 10) for item in labels}
    assert len(set(shown.values())) == 4
    assert {other for row in shown.values() for other, _ in row} == set(labels)


def test_a_prediction_is_asked_for_once() -> None:
    world = World(1)
    coherence = Coherence(ALONE, world.score, alpha=30, rule="none", most=4)
    labels = dict(enumerate(world.truth))
    coherence.utility(labels)
    assert world.asked == 12
    coherence.utility(labels)
    assert world.asked == 12
    coherence.utility({**labels, 0: not labels[0]})
    assert world.asked == 16, "one item is the demonstration of one block of four"


def test_without_steps_the_rest_is_labelled_from_the_first_labels() -> None:
    world = World(2, salience=5.0)
    done = search(Coherence(ALONE, world.score, alpha=30, rule="none"), Annealing(steps=0, start=2), 1)
    assert set(done.labels) == set(range(12))
    assert done.accepted == 0
