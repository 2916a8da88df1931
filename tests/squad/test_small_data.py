"""A few passages of your own: all of them are tested on if nothing is learnt from other passages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.api import Task
from harness.books.episodes import EpisodeBook
from harness.errors import UsageError
from harness.registry.build import build
from harness.registry.discover import Plugins
from harness.runs.config import resolve
from harness.runs.plan import only_tests, work


@pytest.fixture
def five(tmp_path: Path) -> str:
    made = [
        {
            "title": f"Town {number}",
            "context": f"Town {number} has {number + 3} bridges.",
            "questions": [{"question": f"How many bridges has town {number}?", "answer": str(number + 3)}],
        }
        for number in range(5)
    ]
    path = tmp_path / "five.json"
    path.write_text(json.dumps(made))
    return str(path)


def _given(method: str, data: str, **more: Any) -> dict[str, Any]:
    return {"method": method, "model": "lab", "task": {"use": "squad", "data": data}, **more}


def _tested(given: dict[str, Any]) -> int:
    plugins = Plugins()
    config = resolve(given, plugins)
    task = build(plugins, Task, config.task, "task")
    return len(EpisodeBook(task.instance, built=task, test_alone=only_tests(config)).split("test"))


def test_a_method_without_an_outer_loop_is_tested_on_all_of_them(five: str) -> None:
    given = _given("icl", five)
    assert _tested(given) == 5
    plugins = Plugins()
    assert work(resolve(given, plugins), plugins)["icl"].answers == 5, "and the dry run says so"


def test_an_outer_loop_keeps_its_own_share(five: str) -> None:
    assert _tested(_given("seal", five)) == 1
    given = _given("seal", five)
    plugins = Plugins()
    assert {pieces.answers for name, pieces in work(resolve(given, plugins), plugins).items() if name == "icl"} == {1}


def test_a_measure_on_another_split_keeps_the_splits(five: str) -> None:
    also = {"train": {"split": "train"}}
    assert _tested(_given("icl", five, also=also)) == 1


def test_a_component_that_asks_for_another_split_is_told(five: str) -> None:
    task = build(Plugins(), Task, {"use": "squad", "data": five}, "task")
    book = EpisodeBook(task.instance, built=task, test_alone=True)
    with pytest.raises(UsageError, match=r"asks for the split 'train': name task\.train"):
        book.split("train")
    [first, *_] = book.split("test")
    assert book.full(first.id).queries


def test_files_of_their_own_stay_what_they_are(five: str, tmp_path: Path) -> None:
    other = tmp_path / "train.json"
    other.write_text(
        json.dumps(
            [
                {"title": t, "context": f"{t} is old.", "questions": [{"question": "Is it?", "answer": "yes"}]}
                for t in "ABCDEFGH"
            ]
        )
    )
    task = build(Plugins(), Task, {"use": "squad", "data": five, "train": str(other)}, "task")
    book = EpisodeBook(task.instance, built=task, test_alone=True)
    assert (len(book.split("test")), len(book.split("train")) + len(book.split("validation"))) == (5, 8)
