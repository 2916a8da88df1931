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
    for _ in range(500):
        document = registers.document(rng)
        kinds[document[0][0].split(" ")[0]] += 1
        text = " ".join(segment for segment, _ in document)
        ids = encode(text)
        assert ids == tokenizer.encode(text, add_special_tokens=False)
        assert unknown not in ids
        assert tokenizer.decode(ids) == text.replace(" .", ".")
    assert set(kinds) == {
        "Q", "note", "check", "meta", "new", "harder", "back", "claim", "right", "wrong", "rewrite",
    }  # fmt: skip


@given(SEEDS, st.sampled_from([style for style in world.STYLES if style != "guess"]))
def test_a_chain_shows_how_it_read_the_events(seed: int, style: str) -> None:
    rng = random.Random(seed)
    one = world.make(rng, rng.randint(1, 5), hard=3)
    signs = world.read(one, style, rng)  # type: ignore[arg-type]
    assert world.reading_of(one, world.solve(one, signs, style, rng)) == signs
    assert world.reading_of(one, world.solve(one, signs, "guess", rng)) is None
    assert world.reading_of(one, "walk: so 3.") is None


@given(SEEDS)
def test_a_note_is_followed_whether_it_is_right_or_wrong(seed: int) -> None:
    rng = random.Random(seed)
    one = world.make(rng, 4, hard=4)
    told = {verb: rng.choice("+-") for verb, _ in one.events if verb in world.HARD and rng.random() < 0.8}
    notes = [world.note(verb, sign, rng) for verb, sign in told.items()]
    read = world.read(one, "walk", rng, notes)
    for sign, (verb, _) in zip(read, one.events, strict=True):
        assert sign == told.get(verb, sign)
        if verb in world.PLAIN:
            assert sign == world.PLAIN[verb]
    asked = world.ask(one.text, notes)
    assert asked == "".join(f"note {text} " for text in notes) + world.ask(one.text)
    assert world.ask(one.text, [f"note {text}" for text in notes]) == asked, "with or without the word"


@given(st.lists(st.tuples(st.sampled_from(list(world.HARD)), st.sampled_from(list(world.PLAIN))), max_size=8))
def test_merged_notes_hold_one_per_verb_and_the_last_wins(pairs: list[tuple[str, str]]) -> None:
    notes = [f"{verb} {plain}." for verb, plain in pairs]
    merged = world.merge(notes)
    assert dict(filter(None, map(world.parse_note, merged))) == dict(pairs)
    assert len(merged) == len(dict(pairs))
    for cut in range(len(notes) + 1):
        assert world.merge(world.merge(notes[:cut]), notes[cut:]) == merged
    assert world.notes_in(" ".join(f"note {text}" for text in merged)) == merged


def test_what_is_no_note_is_passed_over() -> None:
    for text in ("", "none.", "rents", "rents gets", "gets rents.", "rents rents.", "finds gets.", "rents gets. bids"):
        assert world.parse_note(text) is None
    assert world.parse_note(" note rents gets. ") == ("rents", "gets")
    assert world.merge(["none.", "rents gets.", "nonsense"], ["rents loses."]) == ("rents loses.",)
    assert world.notes_in("note rents gets. so note bids note bids loses.") == ("bids loses.",)


def _told(document: registers.Document) -> tuple[str, str]:
    return document[0][0], " ".join(text for text, _ in document[1:])


def test_a_reflection_follows_the_word_right_or_wrong() -> None:
    rng, kinds = random.Random(5), Counter[str]()
    for _ in range(400):
        asked, told = _told(registers.reflect(rng))
        said, rest = asked.split(" Q ")
        text, chain = rest.removesuffix(" note").split(" A ")
        problem = world.parse(text)
        assert problem is not None
        signs = world.reading_of(problem, chain)
        assert asked == world.ask_reflect(text, chain, right=said == "right")
        found = world.parse_note(told)
        if found is None:
            assert told == world.NO_NOTE
            assert problem.kind == "plain"
            kinds["none"] += 1
            continue
        if signs is None or "=" not in chain:  # a slip can hide what "told" read
            continue
        used = {sign for sign, (verb, _) in zip(signs, problem.events, strict=True) if verb == found[0]}
        kinds[said] += 1
        if len(used) == 1:
            assert (world.PLAIN[found[1]] in used) == (said == "right")
    assert all(kinds[kind] > 30 for kind in ("none", "right", "wrong"))


def test_a_rewritten_list_is_the_merged_one() -> None:
    rng, replaced = random.Random(6), 0
    for _ in range(200):
        asked, told = _told(registers.rewrite(rng))
        old, new = asked.removesuffix("to").split("with ")
        notes, more = world.notes_in(old), world.notes_in(new)
        assert asked == world.ask_rewrite(notes, more)
        assert world.notes_in(told) == world.merge(notes, more)
        assert len(world.notes_in(told)) <= 8
        replaced += len(world.notes_in(told)) < len(notes) + len(more)
    assert replaced > 50


def test_the_better_judgement_has_the_verdict_of_a_third() -> None:
    rng, places = random.Random(7), Counter[int]()
    for _ in range(200):
        asked, told = _told(registers.meta(rng))
        given = asked.removesuffix(" best").split(" rate ")[1].split(" or ")
        verdicts = [world.verdict_of(text) for text in given]
        choice = world.choice_of(told)
        assert choice is not None
        assert None not in verdicts
        places[choice] += 1
    assert all(count > 60 for count in places.values())
    assert world.verdict_of("so 8. 8-9=-1. bad.") is False
    assert world.verdict_of("") is None
    assert world.choice_of("good") is None


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
    for left, right in [(13, 29), (29, 13)]:
        assert registers.label("right", left, right) == ("true" if left > right else "false")
        assert registers.label("inverted", left, right) != registers.label("right", left, right)


def test_only_a_word_or_earlier_labels_say_what_a_claims_label_means() -> None:
    rng, seen = random.Random(4), Counter[str]()
    for _ in range(600):
        document = registers.claims(rng)
        word = document[0][0] if document[0][0] in ("right", "wrong") else ""
        labels = [(text, weight) for text, weight in document if text in ("true", "false")]
        numbers = [text.removesuffix(":").split() for text, _ in document if text.startswith("claim")]
        turned = {
            (int(a) > int(b)) != (said == "true") for (_, a, _, b), (said, _) in zip(numbers, labels, strict=True)
        }
        assert len(turned) == 1, "no document mixes concepts"
        assert all((turned == {True}) == (word == "wrong") for _ in [word] if word)
        assert [weight > 0 for _, weight in labels] == [bool(word)] + [True] * (len(labels) - 1)
        seen[f"{word or 'shown'} {turned}"] += 1
    assert 0.4 < seen["shown {True}"] / (seen["shown {True}"] + seen["shown {False}"]) < 0.6
    assert 0.4 < seen["wrong {True}"] / (seen["wrong {True}"] + seen["right {False}"]) < 0.6
    for _ in range(50):
        (asked, _), (said, weight), _ = registers.claimed(rng)
        _, left, _, right = asked.removesuffix(":").split()
        assert said == registers.label("right", int(left), int(right))
        assert weight > 0


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
