"""The lab model says that it cannot read a text, so that nobody has to guess it from scores of 0."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import harness
from harness.api import Model, Task
from harness.books.store import WeightStore
from harness.registry.build import build
from harness.registry.discover import Plugins

ENGLISH = (
    "The Amazon rainforest covers most of the basin of the Amazon in South America. The majority of the forest is "
    "contained within Brazil, followed by Peru and Colombia, with smaller amounts in neighbouring countries."
)


def _lab(folder: Path) -> Model:
    return build(Plugins(), Model, {"use": "lab"}, "model", WeightStore(folder)).instance


def test_english_is_not_of_its_world_and_its_own_facts_are(tmp_path: Path) -> None:
    lab = _lab(tmp_path)
    assert "lab-1 knows only the words of its own made-up world" in lab.cannot_read([ENGLISH])
    task = build(Plugins(), Task, {"use": "lab-facts"}, "task").instance
    pages = [str(episode.context["text"]) for episode, _ in task.load("test")[:20]]
    assert lab.cannot_read(pages) == ""
    assert lab.cannot_read(["7 8 7\n7 4 8"]) == "", "nothing is said of what has no words"


def test_a_run_says_it_when_it_starts_and_in_its_row(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = tmp_path / "two.json"
    texts = {"Amazon": ENGLISH, "Andes": "The Andes are the longest mountain range of the continents above the sea."}
    data.write_text(
        json.dumps(
            [
                {
                    "title": title,
                    "context": text,
                    "questions": [{"question": f"Where is the {title}?", "answer": "Peru"}],
                }
                for title, text in texts.items()
            ]
        )
    )
    given = {"method": "icl", "model": "lab", "task": {"use": "squad", "data": str(data)}, "judge": "exact",
             "seeds": 2, "out": str(tmp_path / "runs"), "leaderboard": ""}  # fmt: skip
    done = harness.run(given)
    assert [len(done.result.task.items), done.result.rows[0].expected] == [2, 4], "and both passages are asked"
    said = "lab-1 knows only the words of its own made-up world"
    assert [message.startswith(said) for message in caplog.messages].count(True) == 1
    for row in done.result.rows:
        assert [note.startswith(said) for note in row.notes].count(True) == 1, "once, for all of its seeds"
