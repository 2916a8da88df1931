"""Public question files with one JSON object per line, read as passages: QuALITY and StreamingQA.

* QuALITY (Pang et al., arXiv 2112.08608): an article with its questions per line; the accepted answer of a question is
  the text of its gold option, since nothing is chosen from here. Lines about one article become one passage.
* StreamingQA (Liška et al., arXiv 2205.11388): a question per line, whose article is in ``documents.jsonl`` beside the
  file (``{"sorting_key", "text"}``, what the release's extraction yields). A passage's title is the article's date.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from harness.errors import UsageError
from harness.reading import conform, read_json_lines

DOCUMENTS = "documents.jsonl"
Row = tuple[str, str, str, str, Sequence[str]]
"""Title, text, question id, question, accepted answers."""
_Text = Annotated[str, Field(min_length=1, pattern=r"\S")]


class _Record(BaseModel):
    model_config = ConfigDict(strict=True)


class _Choice(_Record):
    question: _Text
    question_unique_id: _Text
    options: Annotated[list[_Text], Field(min_length=2)]
    gold_label: Annotated[int, Field(ge=1)]
    """Place of the right option, from 1; absent in the test file, whose labels are not public."""


class _Article(_Record):
    title: _Text
    article: _Text
    questions: Annotated[list[_Choice], Field(min_length=1)]


class _News(_Record):
    qa_id: _Text
    question: _Text
    answers: Annotated[list[str], Field(min_length=1)]
    evidence_ts: int
    evidence_id: _Text


class _Document(_Record):
    sorting_key: _Text
    text: _Text


def reader_of(path: Path) -> Callable[[Path], list[Row]] | None:
    """What reads a file of this form; None where it is not one of them."""
    with path.open(encoding="utf-8", errors="replace") as file:
        line = file.readline(10_000_000)
    try:
        first: Any = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(first, dict):
        return None
    if {"article", "questions"} <= first.keys():
        return read_quality
    return read_streaming_qa if {"qa_id", "evidence_id"} <= first.keys() else None


def read_quality(path: Path) -> list[Row]:
    """The rows of a QuALITY file, in order.

    Raises:
        UsageError: a record is invalid, or its gold label is none of its options.
    """
    rows: list[Row] = []
    for number, value in read_json_lines(path, repair=False):
        record = conform(_Article, value, f"{path}: record {number}")
        for place, asked in enumerate(record.questions):
            if asked.gold_label > len(asked.options):
                where = f"questions[{place}].gold_label"
                raise UsageError(
                    f"{path}: record {number}, field {where}: {asked.gold_label} of {len(asked.options)} options"
                )
            answer = asked.options[asked.gold_label - 1].strip()
            rows.append((record.title, record.article, asked.question_unique_id, asked.question, [answer]))
    return rows


def read_streaming_qa(path: Path) -> list[Row]:
    """The rows of a StreamingQA file, in order.

    Raises:
        UsageError: a record is invalid, or documents are missing.
    """
    beside = path.with_name(DOCUMENTS)
    if not beside.exists():
        raise UsageError(f"{beside}: not found; it holds the articles, each with its sorting_key and text")
    found = [conform(_Document, value, f"{beside}: record {n}") for n, value in read_json_lines(beside, repair=False)]
    texts = {one.sorting_key: one.text for one in found}
    asked = [conform(_News, value, f"{path}: record {n}") for n, value in read_json_lines(path, repair=False)]
    lacking = [one for one in asked if one.evidence_id not in texts]
    if lacking:
        raise UsageError(
            f"{beside}: lacks the articles of {len(lacking)} of {len(asked)} questions in {path.name}, the first: "
            f"{lacking[0].evidence_id}"
        )
    rows: list[Row] = []
    for number, one in enumerate(asked, 1):
        golds = [answer for answer in one.answers if answer.strip()]
        if not golds:
            raise UsageError(f"{path}: record {number}, field answers: is empty")
        day = datetime.fromtimestamp(one.evidence_ts, UTC).date().isoformat()
        rows.append((f"News of {day}", texts[one.evidence_id], one.qa_id, one.question, golds))
    return rows
