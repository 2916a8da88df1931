"""Selection against the published outer loop, and on small cases."""

from __future__ import annotations

import json
from typing import Any

import pytest
from harness_seal.selection import best, improving
from hypothesis import given
from hypothesis import strategies as st

from tests.shared_data import shared

REWARDS = st.lists(st.none() | st.sampled_from([-0.5, 0.0, 0.25, 1.0]), max_size=6)


@pytest.fixture(scope="module")
def articles() -> list[Any]:
    return list(json.loads(shared("seal/scored/train_iter0.json").read_text(encoding="utf-8"))["articles"])


def runs(article: Any) -> list[list[float]]:
    """Per candidate, the accuracy of each inner run."""
    found = []
    for candidate in article["completions"]:
        by_run: dict[int, list[bool]] = {}
        for row in candidate["questions"]:
            by_run.setdefault(row["rep"], []).append(row["adapter_correct"])
        found.append([sum(right) / len(right) for right in by_run.values()])
    return found


def test_the_published_selection_is_reproduced(articles: list[Any]) -> None:
    rows = [json.loads(line) for line in shared("seal/selected/train_iter0.jsonl").open(encoding="utf-8")]
    kept = []
    for article in articles:
        [index] = best([candidate["stats"]["adapter_mean"] for candidate in article["completions"]])
        kept.append({"prompt": article["prompt"], "completion": article["completions"][index]["text"]})
    assert len(rows) == 50
    assert kept == rows


def test_the_published_selection_from_the_verdicts_themselves(articles: list[Any]) -> None:
    for article in articles:
        means = [sum(candidate) / len(candidate) for candidate in runs(article)]
        stored = [candidate["stats"]["adapter_mean"] for candidate in article["completions"]]
        assert means == pytest.approx(stored, abs=1e-4)


def test_the_paper_s_rule_would_have_kept_other_edits(articles: list[Any]) -> None:
    kept = [
        improving([candidate["stats"]["gain_mean"] for candidate in article["completions"]]) for article in articles
    ]
    winners = [best([candidate["stats"]["adapter_mean"] for candidate in a["completions"]])[0] for a in articles]
    assert sum(winner not in mine for winner, mine in zip(winners, kept, strict=True)) == 10


@pytest.mark.parametrize(
    ("rewards", "kept"),
    [([0.2, 0.5, 0.5], [1]), ([None, 0.0], [1]), ([None], []), ([], []), ([-0.5, -0.25], [1])],
)
def test_best(rewards: list[float | None], kept: list[int]) -> None:
    assert best(rewards) == kept


@given(REWARDS)
def test_what_is_kept_is_worth_it(rewards: list[float | None]) -> None:
    known = [reward for reward in rewards if reward is not None]
    assert [rewards[index] for index in best(rewards)] == ([max(known)] if known else [])
    assert [rewards[index] for index in improving(rewards)] == [reward for reward in known if reward > 0]
