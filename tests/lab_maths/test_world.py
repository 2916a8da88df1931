"""The world of counting stories: texts are what they say, splits apart, and readers misread as the tables say."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from harness_lab_maths import registers, world
from harness_lab_maths.pretraining.tokenizer import UNKNOWN, Encoder, build, vocabulary
from harness_lab_maths.pretraining.train import Batches, TrainSettings
from hypothesis import given
from hypothesis import strategies as st

SEEDS = st.integers(0, 2**32)


@given(SEEDS, st.integers(1, 6))
def test_a_problem_is_what_its_text_says(seed: int, events: int) -> None:
    one = world.make(random.Random(seed), events)
    assert world.parse(one.text) == one
    assert len(one.events) == events
    total = one.start
    for verb, number in one.events:
        total += number if world.SIGNS[verb] == "+" else -number
    assert one.answer == total
    assert all(0 <= each <= world.MOST for each in one.totals)


@given(SEEDS, st.sampled_from(world.STYLES))
def test_without_slips_and_misreadings_every_style_is_right(seed: int, style: str) -> None:
    rng = random.Random(seed)
    one = world.make(rng, rng.randint(1, 5))
    chain = world.solve(one, one.signs, style, rng)
    assert world.answer_of(chain) == str(one.answer)
    assert world.style_of(chain) == style


@given(SEEDS)
def test_no_misreading_leaves_the_range(seed: int) -> None:
    """A total out of range would tell a reader that it misread."""
    rng = random.Random(seed)
    one = world.make(rng, 4)
    for reader in ("walk", "told", "judge"):
        total = one.start
        for sign, (_, number) in zip(world.read(one, reader, rng), one.events, strict=True):
            total = world.add(total, sign, number)
            assert 0 <= total <= world.MOST


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Kim has 82 coins. how many?",
        "Kim has 82 coins. finds 28 how many?",
        "Kim has 82 coins. steals 28. how many?",
        "Zoe has 82 coins. finds 28. how many?",
        "Kim has 8 coins. loses 28. how many?",
        "Kim has 82 coins. finds 28. how many? finds 2.",
        "Kim has 82 coins. finds x. how many?",
    ],
)
def test_what_is_no_problem_is_none(text: str) -> None:
    assert world.parse(text) is None


def test_splits_share_no_sum() -> None:
    sums = {
        split: {(p.start, p.signs, tuple(n for _, n in p.events)) for p in world.problems(split, 60, 1)}
        for split in ("pretrain", "train", "validation", "test")
    }
    for a in sums:
        assert len(sums[a]) == 60
        assert not any(sums[a] & sums[b] for b in sums if b != a)


def test_hard_verbs_are_read_as_the_table_says() -> None:
    rng = random.Random(7)
    table = [("lends", "walk", 0.1), ("lends", "told", 0.93), ("rents", "split", 0.93), ("rents", "told", 0.1)]
    for verb, style, share in table:
        one = world.Problem("Kim", "coins", 50, ((verb, 5),))
        right = [world.read(one, style, rng) == one.signs for _ in range(600)]  # type: ignore[arg-type]
        assert sum(right) / 600 == pytest.approx(share, abs=0.05)


def test_most_chains_know_the_common_hard_verbs_and_few_the_rare_ones() -> None:
    def knowing(verb: str) -> float:
        return sum(share * world.HARD[verb].rightly(style) for style, share in world.STYLE_SHARE.items())  # type: ignore[arg-type]

    assert all(knowing(verb) > 0.5 for verb in world.COMMON_HARD)
    assert all(knowing(verb) < 0.4 for verb in world.RARE_HARD)
    assert sum(world.STYLE_SHARE.values()) == pytest.approx(1)


def test_every_document_is_of_the_vocabulary_and_decodes_as_it_was_written() -> None:
    tokenizer, encode, rng = build(), Encoder(), random.Random(3)
    unknown = vocabulary().index(UNKNOWN)
    kinds: Counter[str] = Counter()
    for _ in range(400):
        document = registers.document(rng)
        kinds[document[0][0].split(" ")[0]] += 1
        text = " ".join(segment for segment, _ in document)
        ids = encode(text)
        assert ids == tokenizer.encode(text, add_special_tokens=False)
        assert unknown not in ids
        assert tokenizer.decode(ids) == text.replace(" .", ".")
    assert set(kinds) == {"Q", "check", "new", "harder", "back", "claim"}


@given(SEEDS)
def test_making_harder_keeps_the_rest(seed: int) -> None:
    rng = random.Random(seed)
    one = world.make(rng, 2)
    more = registers.harder(rng, one)
    assert (more.name, more.thing, more.start, more.events[:-1]) == (one.name, one.thing, one.start, one.events)
    assert world.parse(more.text) == more


def test_a_backward_chain_finds_the_start_again() -> None:
    rng = random.Random(1)
    right = 0
    for _ in range(200):
        one = world.make(rng, 2, hard=0.0)
        assert " has x " in world.ask_back(one, one.answer)
        right += world.answer_of(registers.backward(rng, one)) == str(one.start)
    assert right > 160  # it slips in one sum of twenty


def test_inverted_labels_are_the_right_ones_turned_round() -> None:
    rng = random.Random(0)
    for left, right in [(3, 9), (9, 3), (5, 5)]:
        assert registers.label("right", left, right, rng) == (left > right)
        assert registers.label("inverted", left, right, rng) != registers.label("right", left, right, rng)


def test_a_batch_depends_on_its_step_alone() -> None:
    settings = TrainSettings(steps=100, tokens=600)
    once, again = Batches(settings), Batches(settings)
    for step in (0, 1, 30):
        once.batch(step)
    ids, weights = once.batch(30)
    other, heavy = again.batch(30)
    assert ids.equal(other)
    assert weights.equal(heavy)
    assert ids.numel() <= 600
    assert (weights[ids == 0] == 0).all()
