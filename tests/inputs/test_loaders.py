"""Whatever a file holds, every loader gives a right value or one clear line: never a traceback, never a hang."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from harness_entigraph.replay import _documents
from harness_replay.editor import Recorded, RecordedSettings
from harness_replay.seal import recorded, replay
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.api import Example, HarnessError, Recipe, SelfEdit, Split
from harness.books.records import encode
from harness.evidence.leaderboard.board import as_json, sections
from harness.evidence.leaderboard.table import render
from harness.evidence.result_file import dumps, read
from harness.models.prices import price_of
from harness.registry.discover import Plugins
from harness.registry.prompt_files import load
from harness.runs import record as records
from harness.runs.config import resolve
from harness.runs.edits import read_edits
from harness.runs.tables import parse_set, read_file
from harness.tasks.arc.load import read_puzzles, select
from harness.tasks.file import FileSettings, FileTask, read_task
from harness.tasks.squad.passages import Passage
from harness.tasks.squad.passages import read as read_passages
from tests.arc.test_data import TASK
from tests.inputs.mutations import damaged, damaged_json
from tests.leaderboard.examples import result_file
from tests.replay.logs import passages, pretraining, scored

EXAMPLES = settings(max_examples=120, suppress_health_check=[HealthCheck.too_slow])

SQUAD = {
    "data": [
        {
            "title": "A_title",
            "paragraphs": [
                {"context": f"Text {n}.", "qas": [{"id": f"q{n}", "question": "Why?", "answers": [{"text": "so"}]}]}
                for n in range(2)
            ],
        }
    ]
}
PASSAGES = [
    {"title": "T", "context": f"Text {n}", "questions": [{"question": "Why?", "answer": ["so", "thus"]}]}
    for n in range(3)
]
QUESTIONS = [
    {"file": "a.txt", "question": "Why?", "answer": "so"},
    {"file": "b.md", "question": "Who?", "answer": ["I"]},
]
EDITS = [
    {
        "episode": f"e{n}",
        "context": {"title": "T", "text": "x"},
        "texts": [["a"]],
        "edits": [
            encode(
                SelfEdit(f"e{n}/0", f"e{n}", (Recipe("lines", {"text": "a"}), Example("p", "t")), {"rate": 0.1})
            )
        ],
    }
    for n in range(2)
]  # fmt: skip
RECORD = {
    "given": {"method": "seal", "limit": 2},
    "plugin_files": [],
    "layers": ["flags"],
    "resolved": {
        "method": "seal", "seed": 0, "task": {"use": "lab-facts"}, "model": {"use": "lab"},
        "arms": {"seal": {"plugin": "seal", "protocol": {"use": "single"}, "roles": {"teacher": {"use": "lab"}}}},
    },
}  # fmt: skip
CONFIG = {
    "method": "seal", "limit": 4, "seeds": 2, "model": "lab", "samples": 1, "beside": ["icl"],
    "task": {"use": "squad", "data": "x.json"},
    "updater": {"rank": 8, "learning_rate": 1e-3}, "roles": {"teacher": {"use": "lab"}},
}  # fmt: skip
TASK_FILE = {"name": "n", "data": "p.json", "metric": "exact", "answer": "first-line", "cap": 3, "title": True,
             "pattern": "a(.*)", "prompt": "{question}"}  # fmt: skip
RETENTION = {
    "mean_over_sequences": [[0.1, 0.2], [0.5, 0.0], [0.4, 0.6]],
    "std_over_sequences": [[0.1, 0.2], [0.5, 0.0], [0.4, 0.6]],
    "n_sequences": 3,
    "base_model": "m",
}
LOGS: Mapping[str, Any] = {
    "scored": scored(repetitions=2),
    "server_reply": pretraining(),
    "per_question": pretraining("per_question"),
    "retention": RETENTION,
}


def outcome(load_it: Callable[[], Any]) -> Any:
    """What a loader gives, or None for its one line of refusal; anything else is a traceback, and fails the test."""
    try:
        return load_it()
    except HarnessError as error:
        said = str(error)
        assert said.strip()
        assert "\n" not in said.replace("\\n", ""), "one line"
        assert len(said) < 1500
        return None


def with_file(raw: bytes, load_it: Callable[[Path], Any], name: str = "file.json") -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "of" / "its" / "own" / name  # loaders look around for what belongs to it
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
        return outcome(lambda: load_it(path))


def right(found: list[Passage] | None) -> None:
    for passage in found or ():
        assert passage.title.strip()
        assert passage.text.strip()
        assert passage.questions
        assert all(question.answers and all(answer.strip() for answer in question.answers)
                   for question in passage.questions)  # fmt: skip


@EXAMPLES
@given(damaged_json(SQUAD))
def test_squad(raw: bytes) -> None:
    right(with_file(raw, read_passages))


@EXAMPLES
@given(damaged_json(PASSAGES))
def test_a_list_of_passages(raw: bytes) -> None:
    right(with_file(raw, read_passages))


@EXAMPLES
@given(damaged_json(QUESTIONS, lines=True))
def test_a_folder_with_questions(raw: bytes) -> None:
    def load_it(path: Path) -> list[Passage]:
        (path.parent / "a.txt").write_text("Text one")
        (path.parent / "b.md").write_text("Text two")
        return read_passages(path.parent)

    right(with_file(raw, load_it, "questions.jsonl"))


@EXAMPLES
@given(damaged_json(TASK))
def test_an_arc_task(raw: bytes) -> None:
    found = with_file(raw, lambda path: select(read_puzzles(str(path)), "all"))
    assert found is None or all(puzzle.demos and puzzle.tests for puzzle in found)


@EXAMPLES
@given(damaged_json({"x1": TASK}))
def test_an_arc_collection_with_its_solutions_inside(raw: bytes) -> None:
    with_file(raw, lambda path: read_puzzles(str(path)), "training_challenges.json")


@EXAMPLES
@given(damaged_json({"x1": TASK}), damaged_json({"x1": [test["output"] for test in TASK["test"]]}), st.booleans())
def test_arc_challenges_and_solutions(challenges: bytes, solutions: bytes, which: bool) -> None:
    good = json.dumps({"x1": TASK}).encode()

    def load_it(path: Path) -> Any:
        (path.parent / "training_solutions.json").write_bytes(solutions)
        return read_puzzles(str(path.parent))

    with_file(challenges if which else good, load_it, "training_challenges.json")


@EXAMPLES
@given(damaged(tomli_w.dumps(CONFIG).encode()))
def test_a_configuration(raw: bytes) -> None:
    plugins = Plugins()
    found = with_file(raw, lambda path: resolve(read_file(path), plugins), "config.toml")
    if found is not None:
        json.dumps(found.as_json(), allow_nan=False)


@EXAMPLES
@given(damaged_json(CONFIG))
def test_a_configuration_from_python(raw: bytes) -> None:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return
    if isinstance(value, dict):
        plugins = Plugins()
        found = outcome(lambda: resolve(value, plugins))
        if found is not None:
            json.dumps(found.as_json(), allow_nan=False).encode()


@pytest.mark.parametrize(
    "text",
    ["9" * 5000, "[" * 3000, "nan", "inf", "1e999", "2026-01-01", "\ud83d", "0x" + "f" * 5000, "a\nb = 1", "", "{a=1}"],
)
@pytest.mark.parametrize("key", ["limit", "model", "task.data", "updater.rank", "roles.teacher", "beside", "method"])
def test_an_assignment(key: str, text: str) -> None:
    outcome(lambda: resolve(parse_set([f"{key}={text}"]), Plugins()))


@EXAMPLES
@given(damaged(tomli_w.dumps(TASK_FILE).encode()))
def test_a_task_file(raw: bytes) -> None:
    def load_it(path: Path) -> Any:
        (path.parent / "p.json").write_text(json.dumps(PASSAGES))
        table = {key: value for key, value in read_task(path).items() if key != "use"}
        task = FileTask(FileSettings(**table))
        splits: tuple[Split, ...] = ("train", "validation", "test")
        return [task.load(split) for split in splits]

    with_file(raw, load_it, "task.toml")


@pytest.mark.parametrize("layout", LOGS)
@EXAMPLES
@given(st.data())
def test_a_published_log(layout: str, data: st.DataObject) -> None:
    raw = data.draw(damaged_json(LOGS[layout]))

    def load_it(path: Path) -> Any:
        (path.parent / "squad_val.json").write_text(json.dumps(passages()))
        recorded(path)
        return replay(path)

    found = with_file(raw, load_it)
    if found is not None:
        figures, graded = found
        json.dumps(figures, allow_nan=False)
        assert figures["macro"] is None or 0 <= figures["macro"] <= 1
        if graded is not None:
            dumps(graded.result)


@EXAMPLES
@given(damaged_json(passages()))
def test_the_questions_of_a_log(raw: bytes) -> None:
    def load_it(path: Path) -> Any:
        (path.parent / "log.json").write_text(json.dumps(pretraining()))
        return replay(path.parent / "log.json")

    with_file(raw, load_it, "squad_val.json")


@EXAMPLES
@given(damaged_json([{"title": "T", "context": "x", "completions": ["a"], "prompt": "p"}]))
def test_published_edits(raw: bytes) -> None:
    with_file(raw, lambda path: Recorded(RecordedSettings(str(path)))._records)


@EXAMPLES
@given(damaged_json(EDITS, lines=True))
def test_the_edits_of_a_run(raw: bytes) -> None:
    found = with_file(raw, lambda path: read_edits(path.parent.parent, "seal", 0), "edits/seal-0.jsonl")
    for episode, edits in (found or {}).items():
        assert all(isinstance(edit, SelfEdit) and edit.episode == episode for edit in edits)
        json.dumps(encode(edits), allow_nan=False).encode()


@EXAMPLES
@given(damaged_json(RECORD))
def test_the_configuration_of_a_run(raw: bytes) -> None:
    plugins = Plugins()

    def load_it(path: Path) -> Any:
        found = records.read(path.parent)
        resolve(found["given"], plugins, found["layers"])
        return found

    with_file(raw, load_it, "config.json")


@EXAMPLES
@given(damaged_json(json.loads(dumps(result_file()))))
def test_a_result_file(raw: bytes) -> None:
    found = with_file(raw, read)
    if found is not None:
        for row in found.rows:
            assert row.conditions["task"] == found.task.name
            assert all(
                value is None or (math.isfinite(value) and 0 <= value <= 1) for one in row.scores for value in one
            )
        render(found)
        json.dumps(as_json(sections([found])), allow_nan=False).encode()


@EXAMPLES
@given(damaged(b'[models]\n"gpt-x" = { input = 1.0, output = 2 }\n'))
def test_a_price_table(raw: bytes) -> None:
    with_file(raw, lambda path: price_of("gpt-x", str(path)), "prices.toml")


@EXAMPLES
@given(damaged(b'short = "{text}"\n[long]\nbase = "{text}"\n[long.instruct]\nsystem = "s"\nuser = "{text}"\n'))
def test_a_prompt_file(raw: bytes) -> None:
    with_file(raw, lambda path: load(str(path), "long", ["text"]), "prompts.toml")


@EXAMPLES
@given(damaged_json([{"text": "a"}, {"text": "b"}], lines=True))
def test_a_corpus(raw: bytes) -> None:
    with_file(raw, lambda path: _documents(str(path)), "corpus.jsonl")


@pytest.mark.parametrize(
    "load_it",
    [
        read_passages, read_file, read_task, read, lambda path: read_puzzles(str(path)), replay,
        lambda path: load(str(path), "x"), lambda path: price_of("x", str(path)), lambda path: _documents(f"{path}"),
        lambda path: read_edits(path, "m", 0), records.read,
        lambda path: Recorded(RecordedSettings(str(path)))._records,
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["absent", "", "x" * 300, "~nobody/x", "a\x00b"])
def test_a_folder_or_nothing_in_place_of_a_file(tmp_path: Path, load_it: Callable[[Path], Any], name: str) -> None:
    path = Path(name) if name.startswith("~") else tmp_path / name
    assert outcome(lambda: load_it(path)) is None
