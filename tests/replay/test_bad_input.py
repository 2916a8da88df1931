"""Data absent from a log are missing; a broken log is reported in one line, with file and place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness_replay.cli import app
from harness_replay.logs import read_log
from harness_replay.seal import replay
from typer.testing import CliRunner

from harness.api import HarnessError
from tests.replay.logs import passages, pretraining, save, scored


def test_a_small_log(tmp_path: Path) -> None:
    found, graded = replay(save(tmp_path / "log.json", scored(repetitions=3, candidates=2)))
    assert (found["macro"], found["baseline_macro"], found["scored"], found["expected"]) == (0.5, 0.0, 36, 36)
    assert graded is not None
    assert [row.method for row in graded.result.rows] == ["log", "log (no update)"]


def test_missing_question_rows_are_missing(tmp_path: Path) -> None:
    raw = scored()
    raw["articles"][0]["completions"][0]["questions"] = []
    raw["articles"][1]["completions"][0]["questions"].pop()
    found, graded = replay(save(tmp_path / "log.json", raw))
    assert found["scored"] == 9
    assert found["macro"] == pytest.approx(2 / 5)
    assert not found["complete"]
    assert "no question rows for 1 of 6 contexts; they are left out" in found["notes"][0]
    assert graded is not None


def test_missing_question_rows_are_counted_where_the_passages_are_near(tmp_path: Path) -> None:
    raw = scored()
    for article in raw["articles"]:
        article["completions"][0]["questions"] = []
    save(tmp_path / "squad_train.json", passages())
    found, _ = replay(save(tmp_path / "log.json", raw))
    assert (found["macro"], found["scored"], found["expected"]) == (None, 0, 12)
    assert "12 questions are counted as missing" in found["notes"][0]


def test_a_lost_repetition_is_missing(tmp_path: Path) -> None:
    raw = scored(repetitions=2)
    rows = raw["articles"][0]["completions"][0]["questions"]
    raw["articles"][0]["completions"][0]["questions"] = [
        row for row in rows if row["rep"] == 0 or "0.0" in row["question"]
    ]
    found, _ = replay(save(tmp_path / "log.json", raw))
    assert (found["scored"], found["expected"]) == (23, 24)
    assert "1 question rows are missing" in found["notes"]


def test_zeros_that_were_never_measured(tmp_path: Path) -> None:
    raw = scored()
    raw["reward_mode"] = "proxy"
    assert replay(save(tmp_path / "log.json", raw))[0]["macro"] is None
    save(tmp_path / "squad_val.json", passages())
    found, graded = replay(save(tmp_path / "cpt.json", pretraining()))
    assert (found["macro"], found["baseline_macro"]) == (1.0, None)
    assert graded is not None
    assert len(graded.result.rows) == 1


def test_per_article_alone_gives_nothing(tmp_path: Path) -> None:
    raw = pretraining()
    del raw["server_reply"]
    found, graded = replay(save(tmp_path / "log.json", raw))
    assert (found["macro"], found["scored"]) == (None, 0)
    assert "keeps 4 of 12 rows" in found["notes"][0]
    assert graded is not None
    assert graded.result.rows == ()


def test_questions_that_cannot_be_found_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="name their file with --questions"):
        read_log(save(tmp_path / "alone" / "log.json", pretraining("per_question")))


@pytest.mark.parametrize("layout", ["server_reply", "per_question"])
def test_rows_are_put_to_their_contexts(tmp_path: Path, layout: str) -> None:
    save(tmp_path / "squad_val.json", passages())
    log = read_log(save(tmp_path / "log.json", pretraining(layout)))
    assert [one.gold for one in log.asked] == [q["answer"] for one in passages() for q in one["questions"]]


def _row(raw: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = raw["articles"][2]["completions"][0]["questions"][0]
    return row


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda raw: _row(raw).update(adapter_correct=None), "articles.2: adapter_correct: None is not a verdict"),
        (
            lambda raw: _row(raw).update(adapter_correct=float("nan")),
            "line 1: NaN is not a JSON number",
        ),
        (
            lambda raw: _row(raw).pop("answer"),
            "field articles[2].completions[0].questions[0].answer: is missing",
        ),
        (lambda raw: _row(raw).update(rep=5), "articles.2.completions.0: rep 5 of 1"),
        (lambda raw: raw["articles"].append(raw["articles"][1]), "articles.6 repeats the passage of articles.1"),
        (lambda raw: raw.pop("articles"), "not a published result file"),
    ],
)
def test_a_malformed_log_is_refused_by_place(
    tmp_path: Path, spoil: Callable[[dict[str, Any]], object], said: str
) -> None:
    raw = scored()
    spoil(raw)
    with pytest.raises(HarnessError) as caught:
        read_log(save(tmp_path / "log.json", raw))
    assert said in str(caught.value)
    assert "log.json" in str(caught.value)
    assert caught.value.exit_code == 2


def test_a_cut_off_parallel_list_is_refused(tmp_path: Path) -> None:
    raw = pretraining()
    for side in raw["server_reply"].values():
        side.pop()
    save(tmp_path / "squad_val.json", passages())
    with pytest.raises(HarnessError, match="cut off: 11 rows of the 12 questions"):
        read_log(save(tmp_path / "log.json", raw))


def test_one_bad_file_does_not_hide_the_others(tmp_path: Path) -> None:
    good = save(tmp_path / "good.json", scored())
    cut = tmp_path / "cut.json"
    cut.write_text(json.dumps(scored())[:-30])
    done = CliRunner().invoke(app, ["seal", str(cut), str(good), "--json", "--out", str(tmp_path / "runs")])
    assert done.exit_code == 2
    assert json.loads(done.stdout)["macro"] == 0.5
    assert "cut.json: line 1" in done.stderr
    assert "the file is cut off" in done.stderr
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["published-good"]


def test_a_replayed_log_is_a_run_like_any_other(tmp_path: Path) -> None:
    from harness.evidence.sources import open_source

    log = save(tmp_path / "log.json", scored())
    done = CliRunner().invoke(app, ["seal", str(log), "--out", str(tmp_path / "runs")])
    assert done.exit_code == 0, done.output
    filed = open_source(str(tmp_path / "runs" / "published-log"))
    assert filed.found.kind == "published"
    assert filed.row == open_source(str(log)).row
