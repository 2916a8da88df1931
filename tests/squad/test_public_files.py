"""QuALITY and StreamingQA, in the form of their public files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.errors import UsageError
from harness.tasks.squad import Squad
from harness.tasks.squad.passages import read


def quality(**changes: Any) -> dict[str, Any]:
    asked = {
        "question": "Who flies?", "question_unique_id": "52845_1", "options": ["An owl ", "A cat"], "gold_label": 1,
        "writer_label": 1, "difficult": 0,
    }  # fmt: skip
    return {"article_id": "52845", "title": "The Owl", "article": "An owl flies.", "questions": [{**asked, **changes}]}


def news(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "qa_id": f"eval-{number}", "question": f"What happened {number}?", "answers": ["rain", "it rained", ""],
        "answers_additional": "", "question_ts": 1583100000, "evidence_ts": 1583020800, "evidence_id": "k1", **changes,
    }  # fmt: skip


def write(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in records))
    return path


def test_an_article_of_quality_is_a_passage_and_the_gold_option_its_answer(tmp_path: Path) -> None:
    file = write(
        tmp_path / "QuALITY.v1.0.1.htmlstripped.dev",
        quality(),
        quality(question="Who sits?", question_unique_id="52845_2", gold_label=2),
    )
    [passage] = read(file)
    assert (passage.title, passage.text) == ("The Owl", "An owl flies.")
    assert [(one.id, one.text, one.answers) for one in passage.questions] == [
        ("52845_1", "Who flies?", ("An owl",)),
        ("52845_2", "Who sits?", ("A cat",)),
    ]


def test_questions_of_streaming_qa_find_their_article(tmp_path: Path) -> None:
    write(tmp_path / "documents.jsonl", *({"sorting_key": f"k{n}", "text": f"Rain {n}."} for n in (1, 2)))
    file = write(tmp_path / "streaminqa_eval.jsonl", news(1), news(2, evidence_id="k2"), news(3))
    first, second = read(file)
    assert (first.title, first.text) == ("News of 2020-03-01", "Rain 1.")
    assert [one.id for one in first.questions] == ["eval-1", "eval-3"]
    assert first.questions[0].answers == ("rain", "it rained")
    assert second.text == "Rain 2."
    task = Squad(Squad.Settings(data=str(file), subset="file-order"))
    task.test_on_all()
    assert [len(episode.queries) for episode, _ in task.load("test")] == [2, 1]


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (quality(gold_label=3), r"record 1, field questions\[0\].gold_label: 3 of 2 options"),
        (quality(gold_label=None), r"record 1.*gold_label"),
        (quality(options=["one"]), r"record 1.*options"),
    ],
)
def test_a_bad_record_is_named(record: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said):
        read(write(tmp_path / "q.jsonl", record))


def test_absent_articles_and_doubled_questions_are_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "streaminqa_eval.jsonl", news(1), news(2, evidence_id="k2"))
    with pytest.raises(UsageError, match=r"documents\.jsonl: not found"):
        read(file)
    write(tmp_path / "documents.jsonl", {"sorting_key": "k1", "text": "Rain."})
    with pytest.raises(UsageError, match=r"lacks the articles of 1 of 2 questions in streaminqa_eval.jsonl.*: k2"):
        read(file)
    with pytest.raises(UsageError, match="the same id as in record 1"):
        read(write(tmp_path / "streaminqa_eval.jsonl", news(1), news(1)))
    with pytest.raises(UsageError, match="field answers: is empty"):
        read(write(tmp_path / "streaminqa_eval.jsonl", news(1, answers=[" "])))
