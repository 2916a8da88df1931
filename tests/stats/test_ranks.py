"""Ranks survive growth: copies, many rows and few seeds neither tie unequal rows nor separate equal ones."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness import stats
from harness.evidence.leaderboard.summary import summarise
from harness.evidence.result_file import read

SHIPPED = Path(__file__).parents[2] / "leaderboards" / "lab-facts" / "20261120-132332-seal-lab-facts.json"


def _rows(
    levels: list[float], *, seeds: int = 3, contexts: int = 60, of_seed: float = 0.01, draw: int = 0
) -> list[stats.Clustered]:
    rng = np.random.default_rng(draw)
    out = []
    for level in levels:
        chance = np.clip(level + rng.normal(0, of_seed, (seeds, 1)), 0, 1) * np.ones((seeds, contexts))
        out.append(stats.Clustered(rng.binomial(4, chance) / 4, np.ones((seeds, contexts)), tuple(range(seeds))))
    return out


LEVELS = [0.05 + 0.1 * place for place in range(10)]


def _ranks(rows: list[stats.Clustered]) -> list[stats.RankSet]:
    return stats.rank_sets(stats.better_beyond_noise(rows))


def test_ten_distinct_methods_have_ten_ranks() -> None:
    assert _ranks(_rows(LEVELS, contexts=100)) == [stats.RankSet(rank, rank) for rank in range(10, 0, -1)]


def test_a_hundred_rows_keep_ten_levels_apart() -> None:
    """With a floor under p, every row was rank 1 from 23 rows on. Ten rows per level, none a copy, five seeds."""
    levels = [level for level in LEVELS for _ in range(10)]
    better = stats.better_beyond_noise(_rows(levels, seeds=5, contexts=100))
    for place in range(8):
        worse, best = slice(10 * place, 10 * place + 10), slice(10 * place + 20, None)
        assert better[best, worse].mean() > 0.99
        assert not better[worse, best].any()
    inside = [better[10 * place : 10 * place + 10, 10 * place : 10 * place + 10].any() for place in range(10)]
    assert sum(inside) <= 1


def test_few_seeds_count_for_more_where_many_rows_vary_alike() -> None:
    """The same two rows, beside none and beside forty others whose seeds scatter as little."""
    pair = _rows([0.4, 0.6], seeds=2, contexts=40)
    alone = stats.difference(*pair)
    assert alone.value > 0.1
    many = stats.better_beyond_noise([*pair, *_rows([0.2] * 20, seeds=2, contexts=40, draw=3)])
    assert many[1, 2:].all()


def test_copies_of_one_row_leave_the_others_apart() -> None:
    low, high = _rows([0.097, 0.708], contexts=32)
    copies = _rows([0.097] * 40, contexts=32, draw=1)
    assert _ranks([high, low, *copies])[0] == stats.RankSet(1, 1)


@pytest.mark.parametrize("seeds", [2, 3])
def test_equal_methods_are_rarely_separated(seeds: int) -> None:
    """60 boards of 10; at an error rate of 5%, more than 8 occur once in a thousand such tests."""
    wrong = sum(
        bool(stats.better_beyond_noise(_rows([0.5] * 10, seeds=seeds, of_seed=0.05, contexts=30, draw=draw)).any())
        for draw in range(60)
    )
    assert wrong <= 8


def test_a_rank_set_holds_the_ranks_that_are_not_excluded() -> None:
    better = np.array([[0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]], dtype=bool)
    assert stats.rank_sets(better) == [
        stats.RankSet(1, 2), stats.RankSet(1, 3), stats.RankSet(2, 4), stats.RankSet(3, 4),
    ]  # fmt: skip


def test_a_row_without_chance_is_ranked_among_others() -> None:
    rows = _rows([0.2, 0.8], contexts=40)
    same = stats.cluster([[0.5] * 40] * 3, [1] * 40, (0, 1, 2), learnt=False)
    assert [one.low for one in _ranks([*rows, same])] == [3, 1, 2]


def test_identical_rows_and_lone_ones() -> None:
    [row] = _rows([0.5])
    assert _ranks([row]) == [stats.RankSet(1, 1)]
    assert _ranks([row, row]) == [stats.RankSet(1, 2)] * 2
    assert _ranks([]) == []


def test_rows_over_other_contexts_are_refused() -> None:
    with pytest.raises(ValueError, match="the same contexts"):
        stats.better_beyond_noise([*_rows([0.5]), *_rows([0.5], contexts=5)])


def test_a_thousand_rows_take_seconds() -> None:
    rows = _rows([place / 1000 for place in range(1000)])
    started = time.process_time()
    found = _ranks(rows)
    assert time.process_time() - started < 20
    assert found[-1].low < 50
    assert found[0].high > 950


def test_copies_of_passage_on_the_shipped_board_do_not_tie_with_seal() -> None:
    """They did from nine rows on: 70.8 and 9.7 were both rank 1."""
    found = read(SHIPPED)
    passage = next(row for row in found.rows if row.method == "passage")
    copies = tuple(replace(passage, method=f"copy-{place}") for place in range(40))
    ranks = {one.row.method: one.ranks for one in summarise(found.with_rows([*found.rows, *copies]))}
    assert ranks["seal"] == stats.RankSet(1, 1)
    assert ranks["passage"] == stats.RankSet(4, 44)
