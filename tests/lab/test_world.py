"""The generated world: determinism, disjoint splits, answers that occur in their passage."""

import json
import random
import re

import pytest
from harness_lab.world.facts import World, attributes, name_split, names, questions, statements
from harness_lab.world.grids import HELD_OUT, MAX_DEMOS, MAX_SIDE, TRAINED, arc_files, task
from harness_lab.world.squad import answer_start, asked_pages, squad_json
from hypothesis import given, settings
from hypothesis import strategies as st

SPLITS = ("train", "validation", "test")
seeds = st.integers(0, 2**31 - 1)


@pytest.mark.parametrize("split", SPLITS)
def test_pages_depend_on_their_seed_only(split: str) -> None:
    few, many = asked_pages(split, 5, 3), asked_pages(split, 12, 3)
    assert many[:5] == few
    assert asked_pages(split, 5, 4) != few


def test_splits_share_no_entity_and_no_title() -> None:
    pages = {split: asked_pages(split, 120, 1) for split in SPLITS}
    names_of = {s: {e.name for one in found for e in one.page.entities} for s, found in pages.items()}
    titles = {s: {one.page.title for one in found} for s, found in pages.items()}
    for a in SPLITS:
        for b in SPLITS:
            if a < b:
                assert not names_of[a] & names_of[b]
                assert not titles[a] & titles[b]


@given(seed=seeds)
@settings(max_examples=30, deadline=None)
def test_pretraining_never_draws_a_held_out_entity(seed: int) -> None:
    world = World(random.Random(seed))
    held = {a + b for a in names()["beginnings"] for e in names()["endings"].values() for b in e
            if name_split(a, b) != "pretraining"}  # fmt: skip
    for _ in range(20):
        entity = world.entity()
        # A first name may look like a held-out brand ("Felix"); it names no entity.
        assert not held & set(entity.name.split()[1 if entity.type == "person" else 0 :])


def test_every_attribute_has_two_held_out_questions_with_known_words() -> None:
    every = [a for found in attributes().values() for a in found]
    trained = {word for a in every for q in questions(a, held_out=False) for word in re.findall(r"\w+", q)}
    for attribute in every:
        held, known = questions(attribute, held_out=True), questions(attribute, held_out=False)
        assert len(held) == 2
        assert not set(held) & set(known)
        assert {word for q in held for word in re.findall(r"\w+", q)} <= trained


@given(seed=seeds, split=st.sampled_from(SPLITS))
@settings(max_examples=25, deadline=None)
def test_questions_are_answered_by_their_passage(seed: int, split: str) -> None:
    for one in asked_pages(split, 2, seed):
        assert len(one.asked) == len(one.page.facts) == 6
        assert len({asked.question for asked in one.asked}) == 6
        for fact, asked, told in zip(one.page.facts, one.asked, one.page.sentences, strict=True):
            assert asked.answer == fact.value
            assert fact.entity.subject.casefold() in asked.question.casefold()
            assert fact.entity.subject.casefold() in one.page.text.casefold()
            answer_start(told, asked.answer)


def test_squad_form_points_at_its_answers() -> None:
    content = squad_json(asked_pages("test", 10, 1))
    assert content["version"] == "1.1"
    for article in json.loads(json.dumps(content))["data"]:
        for paragraph in article["paragraphs"]:
            for asked in paragraph["qas"]:
                (answer,) = asked["answers"]
                start = answer["answer_start"]
                assert paragraph["context"][start : start + len(answer["text"])] == answer["text"]


def test_answer_start_wants_a_word_of_its_own() -> None:
    assert answer_start("In 1879 for 7 days", "7") == 12
    with pytest.raises(ValueError, match="'8' is not in"):
        answer_start("In 1879", "8")


def test_passages_put_most_values_before_names() -> None:
    for found in attributes().values():
        for attribute in found:
            assert all(t.index("{V}") < t.index("{N}") for t in attribute.tells)
            assert all(t.index("{N}") < t.index("{V}") for t in (*attribute.notes, *statements(attribute)))


@given(seed=seeds, family=st.sampled_from([*TRAINED, *HELD_OUT]))
@settings(max_examples=60, deadline=None)
def test_grid_tasks_are_small_and_show_their_change(seed: int, family: str) -> None:
    made = task(random.Random(seed), family)
    pairs = made["train"] + made["test"]
    assert len(made["train"]) == MAX_DEMOS
    assert len({json.dumps(pair["input"]) for pair in pairs}) == len(pairs)
    for pair in pairs:
        assert pair["input"] != pair["output"]
        for grid in pair.values():
            assert 1 <= len(grid) <= MAX_SIDE
            assert {len(row) for row in grid} == {len(grid[0])}
            assert len(grid[0]) <= MAX_SIDE
            assert all(0 <= cell <= 9 for row in grid for cell in row)


def test_grid_files_are_deterministic_and_hold_families_out() -> None:
    assert not set(TRAINED) & set(HELD_OUT)
    for split in SPLITS:
        challenges, solutions = arc_files(20, 1, split)
        assert (challenges, solutions) == arc_files(20, 1, split)
        assert list(challenges) == list(solutions)
        families = HELD_OUT if split == "test" else TRAINED
        assert all(any(name.endswith(family) for family in families) for name in challenges)
        assert all("output" not in test for one in challenges.values() for test in one["test"])
    assert arc_files(6, 1, "train") != arc_files(6, 2, "train")
