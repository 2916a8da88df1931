"""Votes, novelty, bands, repetition: properties and the values that the papers' code gives."""

from __future__ import annotations

import numpy as np
import pytest
from harness_label_free.evol_rl import _tokens
from harness_label_free.novelty import banded, cosine, ngram_overlap, novelties
from harness_label_free.repetition import average_linkage, bleu, clusters, repetition
from hypothesis import given
from hypothesis import strategies as st

from harness.evaluators.sampled import pass_at_k
from harness.trainers.advantages import group_advantages
from harness.votes import classes, vote

ANSWERS = st.lists(st.one_of(st.none(), st.sampled_from(["1", "01", "2", "3"])), min_size=1, max_size=12)
VECTORS = st.integers(2, 8).flatmap(
    lambda n: st.tuples(
        st.lists(st.lists(st.floats(-1, 1), min_size=3, max_size=3), min_size=n, max_size=n),
        st.lists(st.booleans(), min_size=n, max_size=n),
    )
)


def as_numbers(a: str, b: str) -> bool:
    return int(a) == int(b)


# --- votes ---------------------------------------------------------------------------------------------------------


@given(ANSWERS)
def test_a_vote_is_for_the_largest_class_of_those_who_answered(answers: list[str | None]) -> None:
    found = vote(answers, as_numbers)
    counts = [sum(b is not None and a is not None and as_numbers(a, b) for b in answers) for a in answers]
    if not any(counts):
        assert (found.answer, found.index, found.members, found.share) == (None, None, (), 0.0)
        return
    assert len(found.members) == max(counts)
    assert found.index == counts.index(max(counts)), "the first met of equally large classes"
    assert found.share == max(counts) / len(answers)
    assert found.share_of_valid == max(counts) / sum(a is not None for a in answers)
    assert found.tied == (sum(count == max(counts) for count in counts) > max(counts))


@given(ANSWERS)
def test_nobody_without_an_answer_is_in_a_class(answers: list[str | None]) -> None:
    numbers = classes(answers)
    assert [number is None for number in numbers] == [answer is None for answer in answers]
    known = [number for number in numbers if number is not None]
    assert list(dict.fromkeys(known)) == list(range(len(set(known))))


def test_equal_strings_split_what_equal_numbers_do_not() -> None:
    assert vote(["1", "01", "2", "2"]).answer == "2"
    assert vote(["1", "01", "1", "2", "2"], as_numbers).answer == "1"
    assert vote(["1", "01", "2", "2"], as_numbers).tied


@given(st.integers(0, 10), st.integers(1, 10))
def test_pass_at_k_is_the_share_of_draws_that_hold_a_right_one(right: int, k: int) -> None:
    from itertools import combinations

    samples = [1] * right + [0] * (10 - right)
    draws = [any(draw) for draw in combinations(samples, k)]
    assert pass_at_k(right, 10, k) == pytest.approx(sum(draws) / len(draws))


# --- novelty -------------------------------------------------------------------------------------------------------


@given(VECTORS)
def test_bands_never_overlap_and_permuting_permutes(given_: tuple[list[list[float]], list[bool]]) -> None:
    vectors, majority = given_
    rewards = banded(cosine(vectors), majority)
    for reward, side in zip(rewards, majority, strict=True):
        assert 0.5 <= reward <= 1.0 if side else -1.0 <= reward <= -0.5
    turned = list(reversed(range(len(vectors))))
    again = banded(cosine([vectors[i] for i in turned]), [majority[i] for i in turned])
    assert again == pytest.approx([rewards[i] for i in turned], abs=1e-6)


def test_lone_members_take_the_top_of_their_band() -> None:
    similar = cosine([[1, 0, 0], [0, 1, 0], [0.1, 1, 0], [0, 0, 1]])
    assert banded(similar, [True, False, False, False])[0] == 1.0
    assert banded(similar, [True, True, True, False])[3] == -0.5


def test_a_collapsed_group_takes_the_middle_and_learns_nothing() -> None:
    similar = cosine([[1.0, 2.0]] * 6)
    assert banded(similar, [True] * 6) == [0.75] * 6
    assert banded(similar, [False] * 6) == [-0.75] * 6
    assert group_advantages([banded(similar, [True] * 6)], scale="group") == [[0.0] * 6]


def test_the_odd_one_out_of_the_majority_is_worth_most() -> None:
    similar = cosine([[1, 0], [1, 0.05], [1, 0.1], [0, 1]])
    assert banded(similar, [True] * 4)[3] == 1.0


@given(st.integers(0, 3), st.permutations(range(4)))
def test_a_duplicate_is_less_novel(which: int, order: list[int]) -> None:
    vectors = np.eye(4)[order]
    majority = [True, True, False, False]
    before = novelties(cosine(vectors), majority)[which]
    after = novelties(cosine([*vectors, vectors[which]]), [*majority, majority[which]])
    assert after[which] < before
    assert after[4] == pytest.approx(after[which])


def test_a_vector_of_zeros_is_like_nothing_but_itself() -> None:
    assert cosine([[0, 0], [1, 0]]).tolist() == [[1, 0], [0, 1]]


def test_overlap_of_grams_is_one_for_equal_texts_and_none_for_strangers() -> None:
    table = ngram_overlap([_tokens("walk: 1+2=3."), _tokens("walk: 1+2=3."), _tokens("so"), _tokens("list: 8-9.")])
    assert table[0, 1] == 1.0
    assert table[0, 2] == 0.0
    assert table.tolist() == table.T.tolist()
    assert _tokens("so 98.") == ["so", "9", "8", "."]


# --- repetition ----------------------------------------------------------------------------------------------------


def test_bleu_is_that_of_the_definition() -> None:
    # Six words against six, one word off at the end: 5/6 words, 4/5, 3/4, 2/3 of the longer grams.
    expected = (5 / 6 * 4 / 5 * 3 / 4 * 2 / 3) ** 0.25
    mat, rug = ("the cat is on the mat".split(), "the cat is on the rug".split())  # noqa: SIM905
    assert bleu(mat, rug) == pytest.approx(expected)
    # Two words of four: brevity exp(1 - 4/2); no gram of three or four, each counted as 0.1 of 1.
    assert bleu(["a", "b"], ["a", "b", "c", "d"]) == pytest.approx((1 * 1 * 0.1 * 0.1) ** 0.25 * np.exp(-1))
    assert bleu([], ["a"]) == bleu(["b"], ["a"]) == 0.0


@given(st.lists(st.sampled_from(["a", "b", "c", "d", "e", "f", "g"]), min_size=4, max_size=9))
def test_a_text_is_wholly_like_itself(words: list[str]) -> None:
    assert bleu(words, words) == pytest.approx(1.0)


@given(st.lists(st.sampled_from(["a b c d e", "a b c d f", "q r s t u", "x"]), min_size=1, max_size=9))
def test_equal_texts_are_of_one_cluster_and_shares_sum_up(texts: list[str]) -> None:
    found = clusters(texts)
    for i, text in enumerate(texts):
        assert all(found[i] == found[j] for j, other in enumerate(texts) if other == text)
    shares = repetition(texts)
    assert sum(1 / (share * len(texts)) for share in shares) == pytest.approx(len(set(found)))
    assert min(shares) >= 1 / len(texts)


def test_a_collapsed_batch_is_repetition_alone() -> None:
    assert repetition(["a b c d"] * 5) == [1.0] * 5
    assert repetition(["a b c d", "e f g h", "i j k l"]) == [1 / 3] * 3


@given(st.integers(0, 2**32 - 1), st.integers(2, 9))
def test_average_linkage_joins_the_nearest_while_they_are_near(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    table = rng.random((n, n))
    table = (table + table.T) / 2
    np.fill_diagonal(table, 0)
    assert average_linkage(table, 0.5) == slowly(table, 0.5)


def slowly(table: np.ndarray, cut: float) -> list[int]:
    """By the definition: means over all pairs, computed anew for every merge."""
    groups = [[i] for i in range(len(table))]
    while len(groups) > 1:
        near = min(
            (float(np.mean([table[a, b] for a in groups[i] for b in groups[j]])), i, j)
            for i in range(len(groups))
            for j in range(i + 1, len(groups))
        )
        if near[0] > cut:
            break
        groups[near[1]] += groups.pop(near[2])
    of = {item: min(group) for group in groups for item in group}
    order = list(dict.fromkeys(of[i] for i in range(len(table))))
    return [order.index(of[i]) for i in range(len(table))]
