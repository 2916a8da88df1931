"""Learning against what is left, at several strengths: on a run's page, on the leaderboards, and what joins rows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import harness
from harness.evidence.leaderboard.board import as_json, sections
from harness.evidence.leaderboard.page import to_html
from harness.evidence.retained import retained
from harness.evidence.strengths import curves, settings, told_apart
from harness.evidence.view.page import write_page

RUNNER = Path(__file__).parents[1] / "runner"
ROOMS = {"recall": 1, "roomy": 2, "roomier": 3}


def shelves(folder: Path, **more: Any) -> harness.Run:
    """Three sequences of four; a shelf with room for so many of them, at three strengths."""
    variants = {name: {"method": "recall", "updater": {"room": room}} for name, room in ROOMS.items() if room > 1}
    config = {"method": "recall", "model": "talks", "beside": [], "out": str(folder / "runs"), "leaderboard": "",
              "limit": 12, "protocol": {"length": 4, "neutral": 0}, "updater": {"room": 1}, "variants": variants,
              **more}  # fmt: skip
    return harness.run(config, plugin_files=[RUNNER / "animals.py", RUNNER / "recall.py", RUNNER / "chain.py"])


def test_strengths_are_joined_on_a_runs_page_and_on_the_leaderboards(tmp_path: Path) -> None:
    """All learn everything; room for k of four leaves k / 4."""
    done = shelves(tmp_path)
    left = {one.method: (one.learning[0], one.final[0]) for one in retained(done.result)}
    assert left == {name: (100.0, 25.0 * room) for name, room in ROOMS.items()}

    assert write_page([done.folder], tmp_path / "page.html")
    board = to_html(sections([done.result]))
    for page in ((tmp_path / "page.html").read_text(encoding="utf-8"), board):
        [figure] = re.findall(r'<figure id="(?:s\d+-)?retained-0".*?</figure>', page, re.DOTALL)
        assert "recall: updater.room 1, 2, 3" in figure, "the line through the strengths"
        for name, room in ROOMS.items():
            assert f"{name}: learnt 100.0" in figure
            assert re.search(rf"{name}: learnt [^<]*, left {25 * room}\.0 \[", figure), "with its interval"
    assert all("retained" not in one for one in as_json(sections([done.result])))


def test_runs_of_one_method_are_told_apart_by_what_was_set(tmp_path: Path) -> None:
    folders = [shelves(tmp_path / str(room), variants={}, updater={"room": room}).folder for room in (1, 2)]
    assert write_page(folders, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "recall (room 1)" in text
    assert "recall (room 2)" in text


def test_rows_of_other_contexts_are_not_drawn_together(tmp_path: Path) -> None:
    runs = [shelves(tmp_path / "a"), shelves(tmp_path / "b", limit=8, variants={})]
    page = to_html(sections([one.result for one in runs]))
    assert len(re.findall(r'<figure id="s\d+-retained-', page)) == 1, "the other group has one row, and no figure"


def test_a_run_without_a_sequence_has_nothing_of_it(tmp_path: Path) -> None:
    done = shelves(tmp_path, protocol="single", variants={})
    assert retained(done.result) == []
    assert settings(done.result, done.result.rows[0])["updater.room"] == 1


@given(st.lists(st.fixed_dictionaries({"a": st.integers(0, 3), "b": st.sampled_from(["x", "y"]), "c": st.booleans()})))
def test_a_curve_joins_rows_that_differ_in_one_number_alone(rows: list[dict[str, Any]]) -> None:
    for curve in curves(rows):
        mine = [rows[place] for place in curve.places]
        values = [row[curve.setting] for row in mine]
        assert curve.setting == "a", "neither a name nor a switch is a strength"
        assert values == sorted({*values})
        assert len(values) > 1
        assert len({(row["b"], row["c"]) for row in mine}) == 1
    labels = told_apart(rows)
    assert len(labels) == len(rows)
    assert labels == [""] * len(rows) or len({*labels}) == len(rows)
