"""Tasks from files: your own data and questions without a plugin."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.api import Query, Task
from harness.errors import UsageError
from harness.registry.build import build
from harness.registry.discover import Plugins
from harness.tasks.file import FileTask, read_task
from harness.testing import TaskContract
from harness.testing.components import world

ASKED = Query("q", "How many?", {"title": "Elm"})


def write(folder: Path, task: str = "", answers: Mapping[str, str] | None = None) -> Path:
    """A task file with its data beside it: the twelve passages of the made-up world."""
    passages = [
        {
            "title": name,
            "context": text,
            "questions": [
                {"question": question, "answer": (answers or {}).get(golds[0], golds[0])}
                for question, golds in asked.items()
            ],
        }
        for part in world().splits.values()
        for name, (text, asked) in part.items()
    ]
    (folder / "places.json").write_text(json.dumps(passages), "utf-8")
    file = folder / "places.toml"
    file.write_text(f'data = "places.json"\n{task}', "utf-8")
    return file


def made(file: Path) -> FileTask:
    instance = build(Plugins(), Task, read_task(file), "task").instance
    assert isinstance(instance, FileTask)
    return instance


class TestFileTask(TaskContract):
    component = FileTask

    @pytest.fixture(autouse=True)
    def _data(self, tmp_path: Path) -> None:
        table = read_task(write(tmp_path))
        type(self).settings = {key: value for key, value in table.items() if key != "use"}


def test_paths_are_relative_to_the_file_and_the_name_is_its_own(tmp_path: Path) -> None:
    table = read_task(write(tmp_path))
    assert table == {"use": "file", "name": "places", "data": str(tmp_path / "places.json")}
    task = made(tmp_path / "places.toml")
    assert (task.name, task.metric) == ("places", "exact")
    assert sum(len(task.load(split)) for split in ("train", "validation", "test")) == 12


def test_prompts_are_the_files(tmp_path: Path) -> None:
    task = made(write(tmp_path, 'prompt = "{question} ({title}) {other}"\nsystem = ""\nchat = "Please: {question}"\n'))
    assert task.prompt(ASKED, {}, chat=False) == "How many? (Elm) {other}"
    assert task.prompt(ASKED, {}, chat=True) == (("user", "Please: How many?"),)
    assert "Passage:\nElm\nElm has leaves" in str(task.prompt(ASKED, {"passage": "Elm has leaves"}, chat=False))


@pytest.mark.parametrize(
    ("task", "text", "same_as", "other_than"),
    [
        ('answer = "number"', "about 1,250 of them", "1250", "125"),
        ('answer = "number"', "it is 3.5", "3.50", "35"),
        ('answer = "number"', "-3 degrees", "-3.0", "3"),
        ('answer = "letter"', "The answer is (B).", "B", "C"),
        ('answer = "first-line"', "Ada Hart\nand others", "ada hart", "others"),
        ('pattern = "Answer: (.*)"', "I think so. Answer: the tower", "tower", "I think so"),
    ],
)
def test_what_of_a_text_is_the_answer(tmp_path: Path, task: str, text: str, same_as: str, other_than: str) -> None:
    file = tmp_path / "t.toml"
    file.write_text(f'data = "x.json"\n{task}\n', "utf-8")
    found = made(file)
    answer = found.extract(ASKED, text)
    assert answer is not None
    assert found.same(ASKED, answer, same_as)
    assert not found.same(ASKED, answer, other_than)


@pytest.mark.parametrize(("task", "text"), [('answer = "number"', "many"), ('answer = "letter"', "none"),
                                            ('pattern = "Answer: (.*)"', "I think so"), ("", " \n")])  # fmt: skip
def test_a_text_without_an_answer_has_none(tmp_path: Path, task: str, text: str) -> None:
    file = tmp_path / "t.toml"
    file.write_text(f'data = "x.json"\n{task}\n', "utf-8")
    assert made(file).extract(ASKED, text) is None


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("promt = ''", "places.toml.promt: no such setting of a task file. Did you mean 'prompt'"),
        ("cap = 'many'", "places.toml.cap: Input should be a valid integer, got 'many'"),
        ("answer = 'essay'", "places.toml.answer: Input should be 'text', 'first-line', 'number' or 'letter'"),
        ("prompt = 'Well?'", "task.prompt: has no {question}; put it where the question belongs"),
        ("pattern = '('", "task.pattern: '(' is not a regular expression"),
        ("use = 'squad'", "'use' is for configurations"),
        ("name = ", "is not TOML: Invalid value"),
        ("answer = 'number'", "question 'q' of "),
    ],
)
def test_what_is_wrong_is_said_with_its_key(tmp_path: Path, task: str, said: str) -> None:
    file = write(tmp_path, task)
    with pytest.raises(UsageError) as error:
        made(file).load("test")
    assert said.replace("question 'q' of ", "is not a number") in str(error.value)


def test_a_file_that_is_not_there_is_said_with_what_is(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(UsageError, match=r"no task file at .*place\.toml\. Did you mean '.*places\.toml'"):
        read_task(tmp_path / "place.toml")


def test_other_prompts_or_answers_are_another_version(tmp_path: Path) -> None:
    first = made(write(tmp_path)).version
    assert made(write(tmp_path)).version == first
    assert made(write(tmp_path, 'answer = "first-line"')).version != first


def test_the_command_line_takes_a_task_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.cli import main
    from harness.runs import runner

    seen: list[Any] = []
    monkeypatch.setattr(runner, "run", lambda given, **more: seen.append(given))
    monkeypatch.setattr("harness.cli.output.finish", lambda run, as_json: None)
    with pytest.raises(SystemExit):
        main(["run", "--task", str(write(tmp_path))])
    assert seen[0]["task"] == {"use": "file", "name": "places", "data": str(tmp_path / "places.json")}
