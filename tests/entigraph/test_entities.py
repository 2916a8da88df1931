"""Entity lists as models really write them, and the groups that are drawn from them."""

from __future__ import annotations

import itertools
import json

import pytest
from harness_entigraph.entities import from_json, from_lines, groups, names_all
from hypothesis import given
from hypothesis import strategies as st

NAME = st.from_regex(r"[A-Z][a-z]{1,8}( [A-Z][a-z]{1,8})?", fullmatch=True)
PASSAGE = "Near Kemble Point the keeper Ada Marsh built a tower for the Harbour Board."


@given(st.lists(NAME, min_size=1, max_size=8, unique_by=str.casefold), st.text(max_size=40), st.integers(1, 10))
def test_a_good_answer_is_read_as_it_is(names: list[str], summary: str, most: int) -> None:
    found = from_json(json.dumps({"summary": summary, "entities": names}), PASSAGE, most)
    assert found.how == "ok"
    assert found.names == tuple(names)[:most]
    assert found.summary == summary


@pytest.mark.parametrize(
    "answer",
    [
        'Sure! {"summary": "s", "entities": ["Ada Marsh", "Kemble Point"]} I hope this helps.',
        '```json\n{"summary": "s", "entities": ["Ada Marsh", "Kemble Point",]}\n```',
        '{"summary": "s", "entities": ["Ada Marsh", "Kemble Point", "Harb',
        '{"summary": "s", "entities": ["Ada Marsh", "Kemble Point"], "extra": {',
        '{"entities": ["Ada Marsh", "Kemble Point"], "summary": "s", ...',
    ],
)
def test_a_broken_answer_is_mended(answer: str) -> None:
    found = from_json(answer, PASSAGE, 10)
    assert (found.how, found.names, found.summary) == ("repaired", ("Ada Marsh", "Kemble Point"), "s")


@pytest.mark.parametrize(
    "answer", ["", "I cannot do that.", '{"entities": []}', '{"names": ["x"]}', "[1, 2]", '{"entities": 5}']
)
def test_what_cannot_be_mended_falls_back_to_the_passages_names_and_says_so(answer: str) -> None:
    found = from_json(answer, PASSAGE, 10)
    assert found.how == "fallback"
    assert found.names[:2] == ("Near Kemble Point", "Ada Marsh")


@given(st.text(max_size=200), st.text(max_size=200))
def test_no_answer_breaks_the_reader(answer: str, passage: str) -> None:
    for found in (from_json(answer, passage, 5), from_lines(answer, passage, 5)):
        assert len(found.names) <= 5
        assert len({name.casefold() for name in found.names}) == len(found.names)
        assert all(name.strip() for name in found.names)


def test_lines_may_have_bullets_and_doubles_are_dropped() -> None:
    assert from_lines("1. Ada Marsh\n- Kemble Point\n\nada marsh\n* Harbour Board.", PASSAGE, 10).names == (
        "Ada Marsh",
        "Kemble Point",
        "Harbour Board",
    )


@given(st.lists(NAME, max_size=7, unique=True), st.sampled_from([2, 3]), st.integers(-1, 12), st.integers(0, 9))
def test_groups_are_distinct_and_as_many_as_asked_for(names: list[str], size: int, count: int, seed: int) -> None:
    every = set(itertools.combinations(names, size))
    drawn = groups(names, size, count, seed)
    assert len(drawn) == (len(every) if count < 0 else min(count, len(every)))
    assert len(set(drawn)) == len(drawn)
    assert set(drawn) <= every
    assert drawn == groups(names, size, count, seed)


def test_a_text_names_all_or_not() -> None:
    assert names_all("ADA MARSH came to Kemble Point.", ("Ada Marsh", "Kemble Point"))
    assert not names_all("Ada came to Kemble Point.", ("Ada Marsh", "Kemble Point"))
