"""The string measures against values worked out by hand, the published logs, and their own properties."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import metrics
from tests.shared_data import shared

TEXT = st.text(alphabet=st.sampled_from("aeThn .,-'!é1 \n"), max_size=30)
WORDS = st.lists(st.sampled_from(["red", "green", "blue", "sea", "ship"]), min_size=1, max_size=6)


@pytest.mark.parametrize(
    ("raw", "normal"),
    [
        ("The  Cat's hat.", "cats hat"),
        ("an apple a day", "apple day"),
        ("theatre", "theatre"),
        ("U.S.-based", "usbased"),
        ("\tTHE\n", ""),
        ("24–10", "24–10"),  # only ASCII punctuation goes, as in the official script
        ("the-end", "theend"),  # punctuation goes before articles do
        ("“the” end", "“ ” end"),
    ],
)
def test_normalize(raw: str, normal: str) -> None:
    assert metrics.normalize(raw) == normal


@pytest.mark.parametrize(
    ("answer", "golds", "exact", "f1", "contains", "recall"),
    [
        ("The Denver Broncos!", ["Denver Broncos"], 1, 1, 1, 1),
        ("Broncos", ["Denver Broncos", "the Broncos"], 1, 1, 1, 1),
        ("It was the Denver Broncos.", ["Denver Broncos"], 0, 2 / 3, 1, 1),
        ("Denver", ["Denver Broncos"], 0, 2 / 3, 0, 1 / 2),
        ("combat", ["bat"], 0, 0, 0, 0),
        ("Broncos Denver", ["Denver Broncos"], 0, 1, 0, 1),
        ("to be to be", ["to be or not to be"], 0, 4 / 5, 0, 4 / 6),
        ("", ["Denver"], 0, 0, 0, 0),
        ("anything", ["The"], 0, 0, 0, 0),
        ("a", ["the"], 1, 0, 1, 0),
    ],
)
def test_known_values(answer: str, golds: list[str], exact: float, f1: float, contains: float, recall: float) -> None:
    got = {name: measure(answer, golds) for name, measure in metrics.MEASURES.items()}
    assert got == pytest.approx({"exact": exact, "f1": f1, "contains": contains, "token_recall": recall})


def test_no_gold_is_an_error_not_a_zero() -> None:
    for measure in metrics.MEASURES.values():
        with pytest.raises(ValueError, match="at least one gold"):
            measure("x", [])


@given(TEXT)
def test_normalize_is_idempotent(text: str) -> None:
    assert metrics.normalize(metrics.normalize(text)) == metrics.normalize(text)


@given(TEXT, st.lists(TEXT, min_size=1, max_size=3))
def test_measures_are_in_range_and_the_order_of_golds_does_not_matter(answer: str, golds: list[str]) -> None:
    for measure in metrics.MEASURES.values():
        assert 0.0 <= measure(answer, golds) <= 1.0
        assert measure(answer, golds) == measure(answer, golds[::-1])


@given(WORDS, WORDS)
def test_the_stricter_measure_is_never_above_the_looser(answer: list[str], gold: list[str]) -> None:
    a, g = " ".join(answer), [" ".join(gold)]
    assert metrics.exact(a, g) <= metrics.f1(a, g)
    assert metrics.exact(a, g) <= metrics.contains(a, g) <= metrics.token_recall(a, g)


@pytest.mark.parametrize(("file", "share"), [("val_naive", 0.221), ("val_base", 0.301), ("val_iter1", 0.331)])
def test_containment_reproduces_the_figures_of_published_answers(file: str, share: float) -> None:
    articles = json.loads(shared(f"seal/scored/{file}.json").read_text(encoding="utf-8"))["articles"]
    rows = [row for article in articles for done in article["completions"] for row in done["questions"]]
    assert len(rows) == 974
    found = sum(metrics.contains(row["adapter_answer"], [row["answer"]]) for row in rows)
    assert found / len(rows) == pytest.approx(share, abs=5e-4)
