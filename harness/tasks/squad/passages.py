"""Passages with their questions, read from a file or a folder; errors name file, record and field.

These forms are understood (``docs/tasks.md`` shows each):

* SQuAD v1.1 JSON: ``{"data": [{"title", "paragraphs": [{"context", "qas": [{"id", "question", "answers"}]}]}]}``
* a JSON list: ``[{"title", "context", "questions": [{"question", "answer"}]}]``, ``answer`` a text or a list of texts
* a folder of ``.txt`` and ``.md`` files, with ``questions.jsonl``: ``{"file", "question", "answer"}`` on each line
* the public files of QuALITY and StreamingQA (:mod:`harness.tasks.squad.public_files`)
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from harness.errors import UsageError, nearest
from harness.reading import conform, read_json, read_json_lines, read_text, user_path
from harness.tasks.squad.public_files import reader_of

QUESTIONS_FILE = "questions.jsonl"
TEXT_SUFFIXES = (".txt", ".md")


@dataclass(frozen=True)
class Question:
    """A question with its accepted answers (at least one)."""

    id: str
    text: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Passage:
    """A text, its title, and the questions about it."""

    title: str
    text: str
    questions: tuple[Question, ...]

    @property
    def id(self) -> str:
        """The first 64 bits of SHA-256 of the text, without white space around it."""
        return passage_id(self.text)


def passage_id(text: str) -> str:
    """:attr:`Passage.id` of a text."""
    return hashlib.sha256(text.strip().encode("utf-8", "surrogatepass")).hexdigest()[:16]


def read(source: str | Path) -> list[Passage]:
    """All passages of a file or folder, in their order.

    Raises:
        UsageError: it cannot be read or a passage is invalid; one line names file, record and field.
    """
    path = user_path(source)
    if path.is_dir():
        return _folder(path)
    if not path.exists():
        parent = path.parent
        beside = [item.name for item in parent.iterdir()] if parent.is_dir() else []
        raise UsageError(f"no such file or folder: {path}." + nearest(path.name, beside))
    public = reader_of(path)
    if public is not None:
        ids = _Unique(path, "id")
        rows = public(path)
        for number, (_, _, name, _, _) in enumerate(rows, 1):
            ids.add(name, number, "id")
        return gather([(title, text, question(name, asked, golds)) for title, text, name, asked, golds in rows])
    content = read_json(path, repair=False)
    if isinstance(content, dict) and "data" in content:
        found = _squad(path, content["data"])
    elif isinstance(content, list):
        found = _list(path, content)
    else:
        raise UsageError(f"{path}: neither SQuAD v1.1 JSON (an object with 'data') nor a list of passages")
    if not found:
        raise UsageError(f"{path}: no passages in it")
    return found


# --- a JSON list ---------------------------------------------------------------------------------------------------


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty")
    return text


_Filled = Annotated[str, AfterValidator(_not_blank)]
_Answers = Annotated[
    list[_Filled], BeforeValidator(lambda value: [value] if isinstance(value, str) else value), Field(min_length=1)
]


class _Record(BaseModel):
    model_config = ConfigDict(strict=True)


class _Question(_Record):
    id: _Filled | None = None
    question: _Filled
    answer: _Answers


class _Passage(_Record):
    id: _Filled | None = None
    title: _Filled
    context: _Filled
    questions: Annotated[list[_Question], Field(min_length=1)]


def _list(path: Path, records: list[Any]) -> list[Passage]:
    ids = _Unique(path, "id")
    texts = _Unique(path, "text")
    found = []
    for number, record in enumerate(records, 1):
        item = _check(_Passage, record, path, number)
        if item.id is not None:
            ids.add(item.id, number, "id")
        key = passage_id(item.context)
        texts.add(key, number, "context")
        questions = []
        for index, asked in enumerate(item.questions):
            if asked.id is not None:
                ids.add(asked.id, number, f"questions[{index}].id")
            questions.append(Question(asked.id or f"{key}/{index}", asked.question, tuple(asked.answer)))
        found.append(Passage(item.title, item.context, tuple(questions)))
    return found


# --- SQuAD v1.1 ----------------------------------------------------------------------------------------------------


class _Gold(_Record):
    text: _Filled


class _Qa(_Record):
    id: _Filled
    question: _Filled
    answers: Annotated[list[_Gold], Field(min_length=1)]


class _Paragraph(_Record):
    context: _Filled
    qas: Annotated[list[_Qa], Field(min_length=1)]


class _Article(_Record):
    title: _Filled
    paragraphs: Annotated[list[_Paragraph], Field(min_length=1)]


def _squad(path: Path, records: Any) -> list[Passage]:
    if not isinstance(records, list):
        raise UsageError(f"{path}: field data: should be a list of articles")
    ids = _Unique(path, "id")
    rows: list[tuple[str, str, Question]] = []
    for number, record in enumerate(records, 1):
        article = _check(_Article, record, path, number)
        for p, paragraph in enumerate(article.paragraphs):
            for q, qa in enumerate(paragraph.qas):
                ids.add(qa.id, number, f"paragraphs[{p}].qas[{q}].id")
                rows.append(
                    (article.title, paragraph.context, question(qa.id, qa.question, [a.text for a in qa.answers]))
                )
    return gather(rows)


def question(id: str, text: str, answers: Sequence[str]) -> Question:
    """A question with its accepted answers, without duplicates."""
    return Question(id, text, tuple(dict.fromkeys(answers)))


def gather(rows: Sequence[tuple[str, str, Question]]) -> list[Passage]:
    """Passages from (title, text, question) rows of SQuAD, whose titles write spaces as underscores.

    A few paragraphs of its training file occur twice; they become one passage with the questions of both.
    """
    titles: dict[str, tuple[str, str]] = {}
    questions: dict[str, list[Question]] = {}
    for title, text, asked in rows:
        key = passage_id(text)
        titles.setdefault(key, (title.replace("_", " "), text))
        questions.setdefault(key, []).append(asked)
    return [Passage(*titles[key], tuple(questions[key])) for key in titles]


# --- a folder of texts ---------------------------------------------------------------------------------------------


class _Row(_Record):
    id: _Filled | None = None
    file: _Filled
    question: _Filled
    answer: _Answers


def _folder(path: Path) -> list[Passage]:
    files = {item.name: item for item in sorted(path.iterdir()) if item.suffix.lower() in TEXT_SUFFIXES}
    asked = path / QUESTIONS_FILE
    if not files:
        raise UsageError(f"{path}: no {' or '.join(TEXT_SUFFIXES)} file in this folder")
    if not asked.exists():
        raise UsageError(
            f"{asked}: not found; it holds the questions about the texts beside it, one JSON object per line"
        )
    texts = {name: read_text(item) for name, item in files.items()}
    keys = _Unique(path, "text")
    for number, (name, text) in enumerate(texts.items(), 1):
        if not text.strip():
            raise UsageError(f"{files[name]}: is empty")
        keys.add(passage_id(text), number, name)
    ids = _Unique(asked, "id")
    questions: dict[str, list[Question]] = {name: [] for name in texts}
    for number, value in read_json_lines(asked, repair=False):
        row = _check(_Row, value, asked, number)
        if row.file not in texts:
            raise UsageError(
                f"{asked}: record {number}, field file: no {row.file!r} beside it." + nearest(row.file, texts)
            )
        if row.id is not None:
            ids.add(row.id, number, "id")
        mine = questions[row.file]
        mine.append(Question(row.id or f"{passage_id(texts[row.file])}/{len(mine)}", row.question, tuple(row.answer)))
    for name, mine in questions.items():
        if not mine:
            raise UsageError(f"{asked}: no question about {name}")
    return [Passage(_title(name), text, tuple(questions[name])) for name, text in texts.items()]


def _title(file: str) -> str:
    return " ".join(Path(file).stem.replace("_", " ").replace("-", " ").split())


# --- checks --------------------------------------------------------------------------------------------------------


class _Unique:
    """Values that may occur only once in a file."""

    def __init__(self, path: Path, what: str) -> None:
        self._path, self._what = path, what
        self._first: dict[str, int] = {}

    def add(self, value: str, record: int, field: str) -> None:
        if value in self._first:
            first = self._first[value]
            raise UsageError(
                f"{self._path}: record {record}, field {field}: the same {self._what} as in record {first}"
            )
        self._first[value] = record


_Model = TypeVar("_Model", bound=_Record)


def _check(model: type[_Model], record: Any, path: Path, number: int) -> _Model:
    return conform(model, record, f"{path}: record {number}")
