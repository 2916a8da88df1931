"""Voting on cases worked out by hand."""

from __future__ import annotations

from harness.tasks.arc import Grid
from harness.tasks.arc.vote import column_majority, nominate, row_majority, vote

A: Grid = ((1,),)
B: Grid = ((2,),)
C: Grid = ((3,),)
D: Grid = ((4,),)


def answers(**of: str) -> list[tuple[str, Grid]]:
    letters = {"A": A, "B": B, "C": C, "D": D}
    return [(category, letters[letter]) for category, text in of.items() for letter in text]


def test_no_answer_no_attempt() -> None:
    assert vote([]) == ()


def test_one_answer_is_one_attempt() -> None:
    assert vote(answers(identity="AAA")) == (A,)


def test_two_answers_are_two_attempts_the_frequent_one_first() -> None:
    assert vote(answers(identity="BAA")) == (A, B)


def test_being_named_by_more_categories_beats_being_frequent_in_one() -> None:
    """D is frequent, but only unaugmented; A is named by every category."""
    found = vote(answers(identity="DDDDA", transpose="AB", flip0="AC", flip1="AB"))
    assert found[0] == A
    assert D not in found


def test_a_tie_for_the_second_attempt_is_broken_by_the_unaugmented_answers() -> None:
    """Named: A 3 times, B and C twice each (by all, and by identity)."""
    assert vote(answers(identity="AAABBC", flip0="A")) == (A, B)
    assert vote(answers(identity="AAABBCC", flip0="A")) == (A, C)


def test_a_tie_that_nobody_breaks_goes_to_the_third() -> None:
    """Named: A 3 times, B and C twice each, neither by the unaugmented answers."""
    assert vote(answers(identity="AA", flip0="BB", flip1="C", transpose="A")) == (A, C)


def test_three_are_nominated_completed_by_majorities_of_rows_and_columns() -> None:
    assert nominate([A, B, B, C, C, C, D]) == [C, B, A]
    one: Grid = ((1, 1), (9, 2))
    two: Grid = ((1, 1), (2, 2))
    assert nominate([one, two]) == [one, two]
    three: Grid = ((1, 7), (2, 2))
    assert row_majority([one, two, three]) == ((1, 1), (2, 2))
    assert column_majority([one, two, three]) == ((1, 1), (2, 2))


def test_majorities_can_make_a_grid_that_nobody_answered() -> None:
    given: list[Grid] = [((1, 1), (5, 5)), ((1, 1), (5, 5)), ((2, 2), (6, 6)), ((3, 3), (6, 6)), ((4, 4), (6, 6))]
    assert row_majority(given) == ((1, 1), (6, 6))
    wide: Grid = ((9, 9, 9),)
    assert row_majority([wide, *given]) == ((1, 1), (6, 6))


def test_only_two_of_many() -> None:
    assert len(vote(answers(identity="ABCD", flip0="ABCD"))) == 2
