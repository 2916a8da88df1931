"""The splitter on the recorded self-edits of the published runs, and on the cases where its variants differ."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.tasks.squad.splitter import Splitter, split
from tests.shared_data import shared

LINES = st.lists(
    st.sampled_from(["", "---", "1. a fact", "2. b", "Question 1: who?", "Answer: he", "Answer 2: she", "- c", " -- "]),
    max_size=8,
)


def recorded(name: str) -> list[Any]:
    return list(json.loads(shared(f"seal/edits/{name}.json").read_text(encoding="utf-8")))[:200]


@pytest.mark.parametrize(
    ("name", "mean"),
    [
        ("val_base", 8.57),
        ("val_iter2", 7.90),
        ("val_gpt4_1", 15.17),
        ("val_base_long", 18.645),
        ("val_base_rewrite", 7.21),
        ("val_base_self-qa", 13.745),
    ],
)
def test_sequences_per_published_update(name: str, mean: float) -> None:
    counts = [1 + len(split(record["completions"][0], "reference", lines=True)) for record in recorded(name)]
    assert sum(counts) / 200 == pytest.approx(mean)
    if name == "val_base":
        assert (sorted(counts)[100], max(counts)) == (7, 57)


@pytest.mark.parametrize(
    ("name", "first_version", "second_version"), [("val_base", 2000, 1200), ("val_gpt4_1", 2082, 1282)]
)
def test_sequences_of_published_continued_pretraining(name: str, first_version: int, second_version: int) -> None:
    found = [
        split(text, "reference", lines=False, cap=30) for record in recorded(name) for text in record["completions"]
    ]
    assert sum(map(len, found)) + len(found) == first_version  # the passage once per completion
    assert sum(map(len, found)) + 200 == second_version  # the passage once per context


def test_the_cap_touches_as_many_published_edits_as_reported() -> None:
    def touched(name: str) -> int:
        return sum(len(split(record["completions"][0], "reference", lines=True)) > 30 for record in recorded(name))

    assert (touched("val_base"), touched("val_iter2")) == (4, 0)


def test_the_fixed_variant_keeps_recorded_answers_with_their_questions() -> None:
    apart = {"reference": 0, "fixed": 0}
    for record in recorded("val_base_self-qa"):
        for variant in ("reference", "fixed"):
            parts = split("Question 1: " + record["completions"][0], variant, lines=True)
            apart[variant] += any(part.startswith("Answer") for part in parts)
    assert apart["reference"] > 150
    assert apart["fixed"] == 0


@pytest.mark.parametrize("variant", ["reference", "fixed"])
@pytest.mark.parametrize(
    ("text", "lines", "expected"),
    [
        ("1. a\n\n 2. b \n", True, ["1. a", "2. b"]),
        ("Sure, here you are:\n1. a\n2. b", True, ["1. a", "2. b"]),
        ("a\n\nb\n---\nc", True, ["a", "b", "c"]),
        ("a\nb\n---\nc", False, ["a\nb", "c"]),
        ("Thoughts first.\nImplications:\na\nb", True, ["a", "b"]),
        ("Thoughts first.\nImplications: a\nb", False, ["a\nb"]),
        (
            "Who?\nAnswer: he\nQuestion 2: where?\nAnswer: here",
            True,
            ["Question 1: Who?\nAnswer: he", "Question 2: where?\nAnswer: here"],
        ),
    ],
)
def test_both_variants(variant: Splitter, text: str, lines: bool, expected: list[str]) -> None:
    assert split(text, variant, lines=lines, marker="Implications:") == expected


@pytest.mark.parametrize(
    ("text", "reference", "fixed"),
    [
        ("Question 1: who?\nAnswer 1: he", ["Question 1: who?", "Answer 1: he"], ["Question 1: who?\nAnswer 1: he"]),
        ("a --- b", ["a", "b"], ["a --- b"]),
        ("Here:\n- a\n- b", ["Here:", "- a", "- b"], ["- a", "- b"]),
        ("- a\n- b", ["- a", "- b"], ["- a", "- b"]),
        ("a\n*\nb", ["a", "*", "b"], ["a", "b"]),
        ("1. a\n1. b", ["1. b"], ["1. a", "1. b"]),
    ],
)
def test_where_the_variants_differ(text: str, reference: list[str], fixed: list[str]) -> None:
    assert split(text, "reference", lines=True) == reference
    assert split(text, "fixed", lines=True) == fixed


def test_text_before_the_marker_goes_only_where_one_is_given() -> None:
    assert split("x\nImplications:\na", "reference", lines=True) == ["x", "Implications:", "a"]
    assert split("Implications:\na", "reference", lines=True, marker="Implications:") == ["Implications:", "a"]
    assert split("Implications:\na", "fixed", lines=True, marker="Implications:") == ["a"]


@given(LINES, st.sampled_from(["reference", "fixed"]), st.booleans(), st.integers(0, 4))
def test_sequences_are_stripped_come_from_the_text_and_keep_to_the_cap(
    lines: list[str], variant: Splitter, by_line: bool, cap: int
) -> None:
    text = "\n".join(lines)
    parts = split(text, variant, lines=by_line, cap=cap)
    assert parts == split(text, variant, lines=by_line)[: cap or None]
    for part in parts:
        assert part == part.strip()
        assert part.removeprefix("Question 1: ") in text
        assert part or not text.strip() or text.strip().strip("-").strip() == ""
    if variant == "fixed":
        assert all(any(map(str.isalnum, part)) for part in parts)
