"""The playbook: the same operations give the same book, its counters are counted, and its budget is kept."""

from __future__ import annotations

import json
from typing import Any

from harness_ace.playbook import Add, Playbook, playbook_of, words
from hypothesis import given
from hypothesis import strategies as st

TEXTS = st.text(alphabet="abc .", min_size=0, max_size=12)
ADDS = st.lists(st.builds(Add, st.sampled_from(["one", "two"]), TEXTS, st.sampled_from(["", "x", "y"])), max_size=12)
TAGS = st.dictionaries(st.sampled_from([f"b{n}" for n in range(1, 14)]), st.sampled_from([-1, 0, 1]), max_size=8)


@given(ADDS, TAGS)
def test_what_is_merged_can_be_read_again(adds: list[Add], tags: dict[str, int]) -> None:
    book = Playbook().added(adds).tagged(tags)
    memory: dict[str, Any] = {"playbook": json.loads(json.dumps(book.as_json("shown")))}
    assert playbook_of(memory) == book
    assert memory["playbook"]["text"] == "shown"
    assert len({one.id for one in book.bullets}) == len(book.bullets)


@given(ADDS)
def test_what_is_there_is_not_added_again(adds: list[Add]) -> None:
    book = Playbook().added(adds)
    assert book.added(adds) == book
    assert all(one.text == " ".join(one.text.split()) != "" for one in book.bullets)


@given(ADDS, TAGS, st.integers(0, 20))
def test_the_budget_is_kept_and_the_worthiest_stay(adds: list[Add], tags: dict[str, int], budget: int) -> None:
    book = Playbook().added(adds).tagged(tags)
    kept = book.within(budget)
    assert words(kept.bullets) <= budget
    gone = [one for one in book.bullets if one not in kept.bullets]
    assert all(lost.worth <= one.worth for lost in gone for one in kept.bullets)
    assert kept.within(budget) == kept
    if words(book.bullets) <= budget:
        assert kept == book


@given(ADDS, TAGS)
def test_one_bullet_about_a_subject_is_shown(adds: list[Add], tags: dict[str, int]) -> None:
    book = Playbook().added(adds).tagged(tags)
    shown = book.shown()
    subjects = [one.about for one in shown if one.about]
    assert sorted(subjects) == sorted({one.about for one in book.bullets if one.about})
    for one in shown:
        assert not one.about or all(one.worth >= other.worth for other in book.bullets if other.about == one.about)
    assert [one for one in shown if not one.about] == [one for one in book.bullets if not one.about]


def test_tags_count_and_a_number_is_never_used_again() -> None:
    book = Playbook().added([Add("s", "first"), Add("s", "second")])
    book = book.tagged({"b1": 1, "b2": -1, "b9": 1}).tagged({"b1": 1})
    assert [(one.id, one.helpful, one.harmful) for one in book.bullets] == [("b1", 2, 0), ("b2", 0, 1)]
    left = book.within(1)
    assert [one.id for one in left.bullets] == ["b1"]
    assert left.added([Add("s", "third")]).bullets[-1].id == "b3"
