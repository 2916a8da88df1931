"""The three forms of passages, and the message for each thing that can be wrong with them."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from harness.errors import UsageError
from harness.tasks.squad import hub
from harness.tasks.squad.passages import Passage, Question, passage_id, read
from tests.shared_data import shared

GOOD = {
    "title": "Tides",
    "context": "The moon pulls.",
    "questions": [{"question": "What pulls?", "answer": "the moon"}],
}


def written(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def squad(*paragraphs: Any) -> Any:
    return {"version": "1.1", "data": [{"title": "High_tide", "paragraphs": list(paragraphs)}]}


def qa(id: str = "q1", *answers: str) -> Any:
    return {"id": id, "question": "What pulls?", "answers": [{"text": text, "answer_start": 0} for text in answers]}


def test_the_shared_file() -> None:
    passages = read(shared("squad/squad_val.json"))
    assert len(passages) == 2067
    assert sum(len(passage.questions) for passage in passages) == 10_570
    assert len({passage.title for passage in passages}) == 48
    assert len({passage.id for passage in passages}) == 2067
    assert len({asked.id for passage in passages for asked in passage.questions}) == 10_570


def test_a_list(tmp_path: Path) -> None:
    several = {**GOOD, "context": "b", "questions": [{"id": "x", "question": "?", "answer": ["one", "1"]}]}
    found = read(written(tmp_path / "p.json", [GOOD, several]))
    first = passage_id("The moon pulls.")
    assert found == [
        Passage("Tides", "The moon pulls.", (Question(f"{first}/0", "What pulls?", ("the moon",)),)),
        Passage("Tides", "b", (Question("x", "?", ("one", "1")),)),
    ]
    assert found[0].id == first == passage_id("  The moon pulls.\n")


def test_squad_json_merges_a_repeated_paragraph_and_repeated_golds(tmp_path: Path) -> None:
    content = squad(
        {"context": "a", "qas": [qa("q1", "moon", "moon", "the moon")]}, {"context": "a", "qas": [qa("q2", "sun")]}
    )
    assert read(written(tmp_path / "s.json", content)) == [
        Passage(
            "High tide",
            "a",
            (Question("q1", "What pulls?", ("moon", "the moon")), Question("q2", "What pulls?", ("sun",))),
        )
    ]


def test_a_folder(tmp_path: Path) -> None:
    written(tmp_path / "low_tide-2.md", "The sea\nfalls.")
    written(tmp_path / "a.txt", "The moon pulls.")
    rows = [
        {"file": "low_tide-2.md", "question": "What falls?", "answer": "the sea"},
        {"file": "a.txt", "question": "?", "answer": ["b"]},
    ]
    written(tmp_path / "questions.jsonl", "\n\n".join(map(json.dumps, rows)) + "\n")
    a, low = read(tmp_path)
    assert (a.title, a.text, a.questions[0].answers) == ("a", "The moon pulls.", ("b",))
    assert (low.title, low.questions[0].text) == ("low tide 2", "What falls?")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([GOOD, {k: v for k, v in GOOD.items() if k != "context"}], "record 2, field context: is missing"),
        ([{**GOOD, "title": 3}], "record 1, field title: Input should be a valid string"),
        ([{**GOOD, "context": " \n"}], "record 1, field context: is empty"),
        ([{**GOOD, "questions": []}], "record 1, field questions: is empty"),
        ([{**GOOD, "questions": [{"question": "?"}]}], "record 1, field questions[0].answer: is missing"),
        ([{**GOOD, "questions": [{"question": "?", "answer": []}]}], "record 1, field questions[0].answer: is empty"),
        ([{**GOOD, "questions": [{"question": "", "answer": "a"}]}], "record 1, field questions[0].question: is empty"),
        ([GOOD, {**GOOD, "title": "Again"}], "record 2, field context: the same text as in record 1"),
        ([{**GOOD, "id": "a"}, {**GOOD, "id": "a", "context": "b"}], "record 2, field id: the same id as in record 1"),
        (
            [{**GOOD, "questions": [{"id": "a", "question": "?", "answer": "b"}] * 2}],
            "record 1, field questions[1].id: the same id as in record 1",
        ),
        (["text"], "record 1: Input should be"),
        ([], "no passages in it"),
        ({"passages": []}, "neither SQuAD v1.1 JSON (an object with 'data') nor a list of passages"),
        ({"data": 1}, "field data: should be a list of articles"),
        ({"data": []}, "no passages in it"),
        (squad({"context": "a", "qas": []}), "record 1, field paragraphs[0].qas: is empty"),
        (squad({"context": "a", "qas": [qa("q1")]}), "record 1, field paragraphs[0].qas[0].answers: is empty"),
        (
            squad({"context": "a", "qas": [qa("q", "x")]}, {"context": "b", "qas": [qa("q", "x")]}),
            "record 1, field paragraphs[1].qas[0].id: the same id as in record 1",
        ),
        ('[{"title": "x",\n ]', "line 2, column 2: not JSON"),
    ],
)
def test_what_is_wrong_with_a_file(tmp_path: Path, content: Any, message: str) -> None:
    path = written(tmp_path / "p.json", content)
    with pytest.raises(UsageError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_encoding(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_bytes('[\n{"title": "Café"}]'.encode("latin-1"))
    with pytest.raises(UsageError, match=r"p\.json: line 2: not UTF-8 \(byte 0xe9\); save it as UTF-8"):
        read(path)


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps([GOOD]).encode())
    assert len(read(path)) == 1


def test_a_misspelled_path_names_its_neighbour(tmp_path: Path) -> None:
    written(tmp_path / "passages.json", [GOOD])
    with pytest.raises(UsageError, match=r"no such file or folder: .*pasages\.json\. Did you mean 'passages\.json'\?"):
        read(tmp_path / "pasages.json")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no .txt or .md file in this folder"),
        ({"a.txt": "x"}, "questions.jsonl: not found"),
        ({"a.txt": " ", "questions.jsonl": ""}, "a.txt: is empty"),
        ({"a.txt": "x", "questions.jsonl": ""}, "questions.jsonl: no question about a.txt"),
        (
            {"a.txt": "x", "questions.jsonl": '{"file": "A.txt", "question": "?", "answer": "y"}'},
            "questions.jsonl: record 1, field file: no 'A.txt' beside it. Did you mean 'a.txt'?",
        ),
        (
            {"a.txt": "x", "questions.jsonl": '\n{"file": "a.txt", "question": "?"}'},
            "record 2, field answer: is missing",
        ),
        ({"a.txt": "x", "questions.jsonl": "\n{,}"}, "questions.jsonl: line 2, column 2: not JSON"),
        ({"a.txt": "x", "b.txt": "x", "questions.jsonl": ""}, "record 2, field b.txt: the same text as in record 1"),
    ],
)
def test_what_is_wrong_with_a_folder(tmp_path: Path, files: dict[str, str], message: str) -> None:
    for name, content in files.items():
        written(tmp_path / name, content)
    with pytest.raises(UsageError) as caught:
        read(tmp_path)
    assert message in str(caught.value)


# --- the hub -------------------------------------------------------------------------------------------------------


def fake_datasets(monkeypatch: pytest.MonkeyPatch, load: Any, *, reachable: bool = True) -> Any:
    config = types.SimpleNamespace(HF_DATASETS_CACHE="/cache/datasets", HF_HUB_OFFLINE=False)
    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load, config=config))
    monkeypatch.setattr(hub, "_reachable", lambda revision: reachable)
    return config


def test_the_hub_is_asked_for_the_pinned_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(name: str, *, split: str, revision: str) -> list[Any]:
        asked.append((name, split, revision))
        answers = {"text": ["b", "b"], "answer_start": [0, 0]}
        return [{"id": "1", "title": "A_b", "context": "c", "question": "?", "answers": answers}]

    fake_datasets(monkeypatch, load)
    assert hub.from_hub("train") == [Passage("A b", "c", (Question("1", "?", ("b",)),))]
    assert asked == [("rajpurkar/squad", "train", hub.REVISION)]


def test_offline_says_what_was_looked_for_where_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str, *, split: str, revision: str) -> list[Any]:
        offline.append(config.HF_HUB_OFFLINE)
        raise ConnectionError("Couldn't reach the hub\nand more")

    offline: list[bool] = []
    config = fake_datasets(monkeypatch, load, reachable=False)
    with pytest.raises(UsageError) as caught:
        hub.from_hub("validation")
    message = str(caught.value)
    for part in (
        "rajpurkar/squad",
        "validation",
        hub.REVISION[:12],
        "/cache/datasets",
        "Couldn't reach",
        "--data FILE",
    ):
        assert part in message
    assert "\n" not in message


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UsageError, match=r"pip install 'selfadapt-harness\[hub\]'"):
        hub.from_hub("train")
