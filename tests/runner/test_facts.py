"""A row's claims are checked against what happened: training that failed, cards, costs and labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import harness
from harness.cli.output import finish
from harness.evidence.leaderboard.summary import summarise
from harness.evidence.result import Row

PLUGINS = [Path(__file__).with_name(name) for name in ("animals.py", "untrained.py")]


def run(folder: Path, method: str, **more: Any) -> harness.Run:
    config = {"method": method, "model": "animals", "task": {"use": "animals"}, "beside": ["bare"], "limit": 4,
              "seeds": 2, "out": str(folder / "runs"), "leaderboard": "", "reuse": "", **more}  # fmt: skip
    return harness.run(config, plugin_files=PLUGINS)


def row(done: harness.Run, method: str) -> Row:
    return next(row for row in done.result.rows if row.method == method)


@pytest.mark.parametrize(
    ("method", "why"),
    [
        ("fails", "outer update 'policy' failed: no rollouts can be learnt"),
        ("lost", "outer update 'policy' was lost: no rollouts can be learnt"),
        ("forgets", "the outer loop made 1 updates, and no round has their result"),
        ("unrewarded", "none of the 12 rewards of the outer loop has a value"),
        ("passes-over", "the editor passed over every context of the outer loop"),
    ],
)
def test_training_that_came_to_nothing_is_said_and_not_ranked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], method: str, why: str
) -> None:
    done = run(tmp_path, method)
    assert done.complete
    assert why in row(done, method).unranked
    [said] = [one for one in summarise(done.result) if one.row.method == method]
    assert said.rank is None
    assert why in said.why_unranked
    finish(done, as_json=False)
    assert f"harness: {method} is not ranked: {why}" in capsys.readouterr().err
    assert why in row(harness.resume(done.folder), method).unranked, "a resumed run says so too"
    assert why in row(run(tmp_path, method, reuse=str(done.folder)), method).unranked


def test_training_that_worked_has_nothing_said_of_it(tmp_path: Path) -> None:
    done = run(tmp_path, "trained")
    assert [one.unranked for one in done.result.rows] == [(), ()]


def test_an_editor_that_passed_over_the_test_split(tmp_path: Path) -> None:
    done = run(tmp_path, "passes-over", trainer={"use": "none"})
    assert row(done, "passes-over").unranked == (
        "the editor passed over all 4 test contexts: the start model was measured",
    )


def test_failed_counts_samples(tmp_path: Path) -> None:
    done = run(tmp_path, "sometimes", samples=4)
    mine = row(done, "sometimes")
    assert mine.samples == (("ofof",) * 4,) * 2
    assert (mine.failed, mine.expected) == (16, 8), "two of four samples of every query, under two seeds"
    assert row(run(tmp_path, "sometimes"), "sometimes").samples == ()


@pytest.mark.parametrize("how", ["resumed", "reused", "reused again", "weights gone"])
def test_costs_and_labels_survive(tmp_path: Path, how: str) -> None:
    import shutil

    first = run(tmp_path, "trained")
    if how == "resumed":
        again = harness.resume(first.folder)
    else:
        if how == "weights gone":
            shutil.rmtree(first.folder / "weights")
        again = run(tmp_path, "trained", reuse=str(first.folder))
        if how == "reused again":
            shutil.rmtree(first.folder)
            again = run(tmp_path, "trained", reuse=str(again.folder))
    assert row(first, "trained").costs["labels"] == 12.0
    for method in ("trained", "bare"):
        before, now = row(first, method).costs, row(again, method).costs
        if how != "weights gone":
            assert now == before
        assert {name: now[name] for name in ("labels", "edit_tokens")} == {
            name: before[name] for name in ("labels", "edit_tokens")
        }
        assert (now["generation_s"] or 0) >= (before["generation_s"] or 0)


def test_a_note_of_what_happened_that_is_gone_is_made_again(tmp_path: Path) -> None:
    import sqlite3

    first = run(tmp_path, "trained")
    with sqlite3.connect(first.folder / "journal.sqlite") as database:
        database.execute("DELETE FROM items WHERE kind = 'within'")
    again = run(tmp_path, "trained", reuse=str(first.folder))
    assert row(again, "trained").costs["labels"] == 12.0
    assert again.ran > 0


CLAIMS = [
    ("remembers", "open_book", "its card says closed book"),
    ("peeks", "queries", "its card says that it sees contexts only"),
    ("on-the-test", "transductive", "its card does not say transductive"),
    ("helped", "outside_teacher", "its card says no outside teacher"),
]


@pytest.mark.parametrize(("method", "fact", "why"), CLAIMS)
def test_what_contradicts_the_card_is_said_and_not_ranked(tmp_path: Path, method: str, fact: str, why: str) -> None:
    done = run(tmp_path, method, task={"use": "passages"}, limit=0)
    again = run(tmp_path, method, task={"use": "passages"}, limit=0, reuse=str(done.folder))
    assert again.ran == 0
    for one in (done, harness.resume(done.folder), again):
        mine = row(one, method)
        assert [name for name, did in mine.happened.items() if did] == [fact]
        [said] = mine.unranked
        assert why in said
        assert next(line for line in summarise(one.result) if line.row is mine).rank is None
        assert row(one, "bare").unranked == ()
        assert not any(row(one, "bare").happened.values())


@pytest.mark.parametrize("method", ["remembers-openly", "on-the-test-openly", "helped-openly"])
def test_what_the_card_says_is_no_fault(tmp_path: Path, method: str) -> None:
    done = run(tmp_path, method, task={"use": "passages"}, limit=0)
    assert row(done, method).unranked == ()
    assert sum(row(done, method).happened.values()) == 1


def test_transductive_rows_rank_among_themselves(tmp_path: Path) -> None:
    done = run(tmp_path, "on-the-test-openly", task={"use": "passages"}, limit=0)
    conditions = [dict(one.conditions) for one in done.result.rows]
    assert [one.pop("transductive") for one in conditions] == [True, False, True]
    ranked = {one.row.method: one.why_unranked for one in summarise(done.result)}
    assert "transductive" not in " ".join(ranked.values())


def test_a_transductive_row_stands_beside_its_untrained_start_on_the_same_items(tmp_path: Path) -> None:
    done = run(tmp_path, "on-the-test-openly", task={"use": "passages"}, limit=0, seeds=3)
    trained, start = row(done, "on-the-test-openly"), row(done, "on-the-test-openly-untrained")
    assert start.conditions == trained.conditions
    assert start.expected == trained.expected
    assert not any(start.happened.values())
    lines = {line.row.method: line for line in summarise(done.result)}
    assert {line.why_unranked for line in lines.values()} == {"5 contexts, fewer than 8, unranked"}
    assert harness.resume(done.folder).ran == 0


def test_methods_that_start_alike_have_one_untrained_row(tmp_path: Path) -> None:
    again = {"again": {"method": "on-the-test-openly", "trainer": {"use": "small-loop", "test": False}}}
    other = {"other": {"method": "on-the-test-openly", "updater": {"use": "none"}}}
    done = run(
        tmp_path, "on-the-test-openly", task={"use": "passages"}, limit=0, beside=[], variants={**again, **other}
    )
    starts = [one.method for one in done.result.rows if one.method.endswith("-untrained")]
    assert starts == ["on-the-test-openly-untrained", "other-untrained"]


def test_what_another_row_made_under_the_same_name_is_not_taken_for_this_rows(tmp_path: Path) -> None:
    done = run(tmp_path, "asks", task={"use": "passages"}, limit=0, seeds=3, variants={"again": {"method": "asks"}})
    for name in ("asks", "again"):
        assert "labels that were right: own question 100.0% of 1" in row(done, name).notes


def test_an_honest_outer_loop_on_passages_has_nothing_said_of_it(tmp_path: Path) -> None:
    done = run(tmp_path, "trained", task={"use": "passages"}, limit=0, validation=2)
    assert [one.unranked for one in done.result.rows] == [(), ()]
    assert not any(any(one.happened.values()) for one in done.result.rows)
