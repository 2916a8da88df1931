"""Marks, Elo, pairs, memory, clusters, pools: properties, and values worked out by hand."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
from harness_self_judging import elo
from harness_self_judging.alma import Pool, ranked
from harness_self_judging.elo import Match
from harness_self_judging.marks import Scale, expected, probabilities
from harness_self_judging.pairs import best, extremes, failures, weighted_vote, won
from harness_self_judging.proposer import Memory, rouge_l
from harness_self_judging.spread import spread
from hypothesis import given
from hypothesis import strategies as st

from harness.api import State
from harness.errors import UsageError

SCORES = st.lists(st.one_of(st.none(), st.integers(0, 5).map(float)), min_size=0, max_size=9)
TEN = Scale.parse("0 1 2 3 4 5 6 7 8 9 10", r"Score: (\d+)", "here")


# --- marks ---------------------------------------------------------------------------------------------------------


def test_the_last_mark_on_the_scale_is_read() -> None:
    assert TEN.read("Score: 3. No, wait. Score: 10") == ("10", 27)
    assert TEN.read("Score: 11") is None
    assert TEN.read("no mark") is None
    words = Scale.parse("bad=0 good=5", r"\b(good|bad)\b", "here")
    assert words.read("5-3=2. bad") == ("bad", 7)
    assert words.share(5) == 1
    assert Scale.parse("0 1 2 10", "", "here").read(" 10 points") == ("10", 1)


@pytest.mark.parametrize(
    ("marks", "pattern", "said"),
    [
        ("", "", "needs at least two marks"),
        ("1=2 2=2", "", "needs at least two marks that differ"),
        ("good bad", "", "mark 'good' has no number; write good=1"),
        ("0 1", "Score", "has no group"),
        ("0 1", "(", "is no regular expression"),
    ],
)
def test_a_malformed_scale_is_refused(marks: str, pattern: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Scale.parse(marks, pattern, "here")


def test_a_mark_of_two_tokens_takes_its_mass_from_the_one_it_begins_with() -> None:
    """P("1") of a text that begins so holds that of "10": 0.5 in all, of which four fifths go on with a 0."""
    rows = {"0": [math.log(0.2)], "1": [math.log(0.5)], "10": [math.log(0.5), math.log(0.8)], "9": [math.log(0.3)]}
    found = probabilities(rows)
    assert found == pytest.approx({"0": 0.2, "1": 0.1, "10": 0.4, "9": 0.3})
    assert expected({"0": 0, "1": 1, "10": 10, "9": 9}, found) == pytest.approx(0.1 + 4 + 2.7)


def test_a_mark_with_a_token_of_its_own_takes_nothing() -> None:
    rows = {"0": [math.log(0.2)], "1": [math.log(0.3)], "10": [math.log(0.4)], "9": [math.log(0.1)]}
    assert probabilities(rows) == pytest.approx({"0": 0.2, "1": 0.3, "10": 0.4, "9": 0.1})


@given(st.lists(st.integers(1, 9), min_size=10, max_size=10), st.integers(0, 9), st.floats(0.01, 1))
def test_probabilities_are_those_of_exact_marks(masses: list[int], more: int, before: float) -> None:
    """Whatever was written before the mark, which all rows begin with."""
    exact: dict[str, float] = {**{str(mark): mass for mark, mass in enumerate(masses)}, "10": more}
    total = sum(exact.values())
    first = {str(mark): exact[str(mark)] / total for mark in range(10)}
    first["1"] += more / total
    rows = {mark: [math.log(before), math.log(p)] for mark, p in first.items()}
    rows["10"] = [*rows["1"], math.log(max(1e-300, more / total / first["1"]))]
    found = probabilities(rows)
    assert found == pytest.approx({mark: mass / total for mark, mass in exact.items()}, abs=1e-9)
    assert sum(found.values()) == pytest.approx(1)


def test_three_lengths_of_a_mark_are_told_apart() -> None:
    row = [math.log(0.6), math.log(0.5), math.log(0.5)]
    found = probabilities({"1": row[:1], "10": row[:2], "100": row, "2": [math.log(0.4)]})
    assert found == pytest.approx({"1": 0.3, "10": 0.15, "100": 0.15, "2": 0.4})


# --- the meta-judge's ranking --------------------------------------------------------------------------------------


def test_wins_at_the_favoured_place_count_less() -> None:
    """Six of eight wins went to the first place: those count a quarter each, the two others three quarters."""
    matches = [Match(0, 1, True)] * 6 + [Match(1, 0, False)] * 2 + [Match(0, 1, None)]
    weights = elo.position_weights(matches)
    assert weights == (0.25, 0.75)
    table = elo.battles(2, matches, weights)
    assert table[0, 1] == pytest.approx(6 * 0.25 + 2 * 0.75)
    assert table[1, 0] == 0
    assert elo.position_weights([Match(0, 1, None)]) == (0.5, 0.5)


def test_a_judge_that_looks_at_the_place_alone_ranks_nobody() -> None:
    matches = [Match(a, b, True) for a, b in elo.pairings(4)] + [Match(0, 1, False), Match(1, 0, False)]
    ratings = elo.elo(elo.battles(4, matches, elo.position_weights(matches)))
    assert ratings == pytest.approx([0.0] * 4, abs=1e-6)
    assert elo.best_and_worst(ratings) is None


@given(st.permutations(range(5)), st.integers(0, 2**31))
def test_elo_orders_players_by_strength(order: list[int], seed: int) -> None:
    """Wins as often as the strengths say, whoever stands first: ratings differ as the strengths do."""
    strength = [150.0 * place for place in order]
    odds = [[1 / (1 + 10 ** ((b - a) / 400)) for b in strength] for a in strength]
    table = np.array(odds) * 1000
    np.fill_diagonal(table, 0)
    ratings = elo.elo(table)
    mean = sum(strength) / len(strength)
    assert ratings == pytest.approx([s - mean for s in strength], abs=1.0)
    assert elo.best_and_worst(ratings) == (order.index(4), order.index(0))


def test_who_never_loses_is_rated_finitely() -> None:
    ratings = elo.elo(elo.battles(3, [Match(a, b, a < b) for a, b in elo.pairings(3)], (0.5, 0.5)))
    assert ratings == sorted(ratings, reverse=True)
    assert all(math.isfinite(rating) for rating in ratings)
    assert elo.best_and_worst(elo.elo(np.zeros((3, 3)))) is None


def test_everybody_meets_everybody_in_both_orders() -> None:
    assert set(elo.pairings(4)) == set(permutations(range(4), 2))


# --- pairs ---------------------------------------------------------------------------------------------------------


@given(SCORES, st.lists(st.integers(1, 50), min_size=9, max_size=9), st.floats(0, 0.49))
def test_the_chosen_is_better_and_within_its_band(scores: list[float | None], lengths: list[int], rho: float) -> None:
    known = [score for score in scores if score is not None]
    plain, short = extremes(scores, lengths), extremes(scores, lengths, rho)
    if len(known) < 2 or max(known) == min(known):
        assert plain == short == []
        return
    [(good, bad)] = plain
    assert (scores[good], scores[bad]) == (max(known), min(known))
    assert scores.index(max(known)) == good
    [(good, bad)] = short
    spread_ = max(known) - min(known)
    assert scores[good] is not None
    assert scores[bad] is not None
    assert scores[good] >= max(known) - rho * spread_ - 1e-6
    assert scores[bad] <= min(known) + rho * spread_ + 1e-6
    assert scores[good] > scores[bad]
    assert lengths[good] <= lengths[scores.index(max(known))], "length control never takes a longer one"
    assert lengths[bad] >= lengths[scores.index(min(known))]


def test_length_control_takes_the_shortest_good_and_the_longest_bad() -> None:
    scores, lengths = [5.0, 4.0, 2.0, 1.0, 0.0, None], [40, 20, 5, 60, 30, 1]
    assert extremes(scores, lengths) == [(0, 4)]
    assert extremes(scores, lengths, 0.0) == [(0, 4)]
    assert extremes(scores, lengths, 0.2) == [(1, 3)]


def test_failures_are_each_rejected_once_for_passing_answers_in_turn() -> None:
    scores, lengths = [1.0, 4.0, None, 0.0, 5.0, 2.0], [9, 8, 7, 6, 20, 4]
    assert failures(scores, lengths, 3.0) == [(4, 0), (1, 3), (4, 5)]
    assert failures(scores, lengths, 3.0, 0.0) == [(4, 0), (4, 3), (4, 5)]
    assert failures(scores, lengths, 3.0, 0.2) == [(1, 0), (4, 3), (1, 5)], "shortest first"
    assert failures([5.0, 5.0], [1, 1], 3.0) == failures([1.0, None], [1, 1], 3.0) == []


@given(SCORES)
def test_pairs_won_are_counted_one_by_one(scores: list[float | None]) -> None:
    right = [place % 2 == 0 for place in range(len(scores))]
    wins, pairs = won(scores, right)
    again = 0.0
    count = 0
    for a, first in enumerate(scores):
        for b, second in enumerate(scores):
            if right[a] and not right[b] and first is not None and second is not None:
                count += 1
                again += 1.0 if first > second else 0.5 if first == second else 0.0
    assert (wins, pairs) == (again, count)
    known = [score for score in scores if score is not None]
    assert best(scores) == (scores.index(max(known)) if known else None)


def test_a_weighted_vote_is_for_the_heaviest_class() -> None:
    assert weighted_vote([0, 1, 0, None], [0.2, 0.9, 0.3, 1.0]) == 1
    assert weighted_vote([0, 1, 0], [0.2, None, 0.3]) == 0
    assert weighted_vote([None, None], [1.0, 1.0]) is None


# --- new tasks, questions, checkpoints -----------------------------------------------------------------------------


@given(st.lists(st.sampled_from("abcd"), max_size=8), st.lists(st.sampled_from("abcd"), max_size=8))
def test_rouge_l_is_that_of_the_definition(a: list[str], b: list[str]) -> None:
    def longest(i: int, j: int) -> int:
        if i == len(a) or j == len(b):
            return 0
        return 1 + longest(i + 1, j + 1) if a[i] == b[j] else max(longest(i + 1, j), longest(i, j + 1))

    wanted = 2 * longest(0, 0) / (len(a) + len(b)) if a or b else 1.0
    assert rouge_l(a, b) == pytest.approx(wanted)


def test_the_memory_knows_what_is_nearly_the_same() -> None:
    memory = Memory(["How many apples does Kim have now?"], 0.7)
    assert memory.knows("how many apples does Kim have now?")
    assert memory.knows("How many pears does Kim have now?")
    assert not memory.knows("Name the longest river of Africa.")
    memory.add("Name the longest river of Africa.")
    assert memory.knows("Name the longest river of Asia.")


@given(st.integers(1, 12), st.integers(0, 2**31))
def test_one_of_each_cluster(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(12, 3))
    places = spread(points.tolist(), count, seed)
    assert len(set(places)) == len(places) == count
    assert places == sorted(places)
    assert spread(points.tolist(), count, seed) == places


def test_distant_groups_are_all_represented() -> None:
    points = [[10.0 * group + 0.1 * member, 0.0] for group in range(3) for member in range(5)]
    assert [place // 5 for place in spread(points, 3, 1)] == [0, 1, 2]
    assert len(spread([[1.0, 1.0]] * 6, 4, 0)) == 4


def test_a_pool_shares_answers_evenly_among_different_checkpoints() -> None:
    a, b, c = (State("base", (name,)) for name in "abc")
    pool = Pool((a, b), a)
    assert pool.members() == [a, b]
    assert Pool((a, b), c).shares(11) == [(a, 4), (b, 4), (c, 3)]
    assert pool.shares(1) == [(a, 1), (b, 0)]


def test_ranks_leave_out_what_has_no_score() -> None:
    assert ranked([1.0, None, 3.0, 3.0]) == [2, 3, 0]
