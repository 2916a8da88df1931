"""The offline judge and the string measures: fixed, and held against recorded verdicts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from harness.api import HarnessError
from harness.cli.judge import app
from harness.evidence.judge_agreement import RecordedAndJudged, calibrate, swaps
from harness.evidence.logs import read_verdicts
from harness.evidence.recorded import Recorded, distinct, is_train_title
from harness.judges.base import DEFAULT, Answer
from harness.judges.load import load
from harness.judges.offline import MEASURES, OfflineJudge, measures, shipped
from tests.shared_data import shared

answers = st.text(max_size=40)


def _grade(judge: str, answer: str, *golds: str, question: str = "Which colour was it?") -> float | None:
    return load(judge).grade([Answer(question, golds, answer)])[0].value


@pytest.mark.parametrize(
    ("judge", "answer", "value"),
    [
        ("exact", "the Dark red!", 1.0),
        ("exact", "It is dark red.", 0.0),
        ("contains", "It is dark red.", 1.0),
        ("recall", "red it is", 0.0),
        ("recall", "dark, maybe even red", 1.0),
        ("f1", "red", pytest.approx(2 / 3)),
        ("offline-1", "It was dark red.", 1.0),
        ("offline-1", "I do not know.", 0.0),
    ],
)
def test_grades(judge: str, answer: str, value: float) -> None:
    assert _grade(judge, answer, "dark red") == value


def test_numbers_must_be_there() -> None:
    asked = "How many square kilometres does the park cover?"
    assert _grade("offline-1", "It covers 1,200 square kilometres.", "1,200 square kilometres", question=asked) == 1.0
    assert _grade("offline-1", "It covers 900 square kilometres.", "1,200 square kilometres", question=asked) == 0.0


@pytest.mark.parametrize("judge", ["exact", "f1", "contains", "recall", "offline-1"])
@given(answers, answers)
def test_every_judge_grades_every_text(judge: str, answer: str, gold: str) -> None:
    value = _grade(judge, answer, gold or "x")
    assert value is not None
    assert 0 <= value <= 1
    assert _grade(judge, answer, gold or "x") == value


@pytest.mark.parametrize("judge", ["exact", "f1", "contains", "recall", "offline-1"])
def test_an_empty_answer_is_wrong(judge: str) -> None:
    assert _grade(judge, " \n", "the") == 0.0


def test_the_best_of_several_golds_counts() -> None:
    assert _grade("offline-1", "It was scarlet.", "crimson", "scarlet") == 1.0


def test_the_default_is_fixed_and_small() -> None:
    assert DEFAULT == "offline-1"
    assert len(MEASURES) <= 5
    assert set(shipped().weights) == set(MEASURES)
    assert not set(shipped().train_titles) & set(shipped().test_titles)


@given(answers, answers, answers)
def test_measures_are_bounded(question: str, gold: str, answer: str) -> None:
    found = measures(question, gold, answer)
    assert 0 <= found["new_recall"] <= 1
    assert 0 <= found["trigram_recall"] <= 1
    assert found["numbers"] in (-1, 0, 1)


def test_an_unknown_judge_is_answered_with_the_nearest() -> None:
    with pytest.raises(HarnessError, match="Did you mean 'offline-1'"):
        load("offline")
    with pytest.raises(HarnessError, match="only be used on a published log"):
        load("recorded")


def test_contradictory_verdicts_are_left_out() -> None:
    same = [Recorded("t", "q", "g", "a", yes) for yes in (True, False)]
    other = [Recorded("t", "q", "g", "b", yes) for yes in (True, True, False)]
    found = distinct([*same, *other])
    assert (len(found.kept), found.records, found.contradictory) == (1, 5, 1)
    assert found.kept[0].correct


def test_the_order_of_arms() -> None:
    arms = [RecordedAndJudged("a", 0.3, 0.2), RecordedAndJudged("b", 0.4, 0.1), RecordedAndJudged("c", 0.5, 0.5)]
    assert swaps(arms) == [("b", "a")]


def test_known_agreement_on_the_shared_logs() -> None:
    verdicts = read_verdicts(sorted(shared("seal/scored").glob("*.json")))
    assert len(verdicts.kept) + verdicts.contradictory == 7236
    known = {"exact": 0.08, "contains": 0.66, "recall": 0.68}
    for name, kappa in known.items():
        assert calibrate(load(name), verdicts).all.kappa == pytest.approx(kappa, abs=0.008), name


def test_the_shipped_coefficients_agree_as_they_say() -> None:
    said = json.loads((Path(__file__).parents[2] / "harness" / "judges" / "offline-1.json").read_text("utf-8"))
    paths = [shared(f"seal/{folder}") for folder in ("scored", "continued_pretraining", "v2")]
    files = [path for folder in paths for path in sorted(folder.glob("*.json"))]
    found = calibrate(OfflineJudge(), read_verdicts(files))
    assert found.held_out is not None
    assert found.held_out.kappa == pytest.approx(said["held_out"]["kappa"], abs=1e-3)
    assert said["held_out"]["kappa_ci95"][0] > 0.68
    assert all(is_train_title(title) for title in said["train_titles"])


@pytest.mark.slow
def test_training_gives_the_shipped_coefficients(tmp_path: Path) -> None:
    folders = [shared(f"seal/{folder}") for folder in ("scored", "continued_pretraining", "v2")]
    files = [str(path) for folder in folders for path in sorted(folder.glob("*.json"))]
    done = CliRunner().invoke(app, ["train", *files, "--out", str(tmp_path / "made.json")])
    assert done.exit_code == 0, done.output
    made = json.loads((tmp_path / "made.json").read_text("utf-8"))
    assert made["weights"] == pytest.approx(dict(shipped().weights), abs=1e-3)
    assert made["intercept"] == pytest.approx(shipped().intercept, abs=1e-3)


def test_calibrate_prints_agreement_and_order() -> None:
    path = shared("seal/scored/val_base.json")
    done = CliRunner().invoke(app, ["calibrate", str(path), "--judge", "exact", "--json"])
    found = json.loads(done.stdout)["judges"][0]
    assert done.exit_code == 0
    assert {"judge", "accuracy", "kappa", "kappa_ci95", "arms", "swaps"} <= found.keys()
    assert found["swaps"] == [["val_base", "val_base (no update)"]]
