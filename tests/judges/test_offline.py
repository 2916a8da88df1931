"""The offline judge and the string measures: fixed, and checked against recorded verdicts."""

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
from harness.evidence.judge_training import agreement, left_out, train
from harness.evidence.logs import read_verdicts
from harness.evidence.recorded import Recorded, distinct, is_train_title
from harness.judges.base import DEFAULT, OFFLINE, Answer
from harness.judges.load import load
from harness.judges.offline import FEATURES, OfflineJudge, shipped, shipped_text
from harness.tasks.squad.task import Squad
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
        ("offline-2", "It was dark red.", 1.0),
        ("offline-2", "I do not know.", 0.0),
    ],
)
def test_grades(judge: str, answer: str, value: float) -> None:
    assert _grade(judge, answer, "dark red") == value


@pytest.mark.parametrize("judge", OFFLINE)
def test_numbers_must_be_there(judge: str) -> None:
    asked = "How many square kilometres does the park cover?"
    assert _grade(judge, "It covers 1,200 square kilometres.", "1,200 square kilometres", question=asked) == 1.0
    assert _grade(judge, "It covers 900 square kilometres.", "1,200 square kilometres", question=asked) == 0.0


@pytest.mark.parametrize(
    ("question", "gold", "answer", "value"),
    [
        ("How many schools are there?", "eleven", "There are 11 schools.", 1.0),
        ("When was the treaty signed?", "the 12th century", "It was signed in the twelfth century.", 1.0),
        ("Who led the troops?", "Général José Pérez", "The troops were led by General Jose Perez.", 1.0),
        ("Who led the troops?", "Perez", "Perez\nQuestion: Who led the fleet?\nA: Gomez", 1.0),
        ("How many died?", "11", "12 died.", 0.0),
        ("What is the capital?", "Lima", "The capital is Cusco, Arequipa, Trujillo or Quito.", 0.0),
    ],
)
def test_offline_2_reads_numbers_accents_and_one_answer(question: str, gold: str, answer: str, value: float) -> None:
    assert _grade("offline-2", answer, gold, question=question) == value


@pytest.mark.parametrize("judge", ["exact", "f1", "contains", "recall", *OFFLINE])
@given(answers, answers)
def test_every_judge_grades_every_text(judge: str, answer: str, gold: str) -> None:
    value = _grade(judge, answer, gold or "x")
    assert value is not None
    assert 0 <= value <= 1
    assert _grade(judge, answer, gold or "x") == value


@pytest.mark.parametrize("judge", ["exact", "f1", "contains", "recall", *OFFLINE])
def test_an_empty_answer_is_wrong(judge: str) -> None:
    assert _grade(judge, " \n", "the") == 0.0


def test_the_best_of_several_golds_counts() -> None:
    assert _grade("offline-1", "It was scarlet.", "crimson", "scarlet") == 1.0


@pytest.mark.parametrize(("judge", "count"), [("offline-1", 4), ("offline-2", 16)])
def test_the_judges_are_fixed_and_small(judge: str, count: int) -> None:
    found = shipped(judge)
    assert list(found.weights) == list(FEATURES[judge]("Who?", "gold", "answer"))
    assert len(found.weights) == count
    assert not set(found.train_titles) & set(found.test_titles)
    assert found.error is not None
    assert found.error.arms > 20


def test_the_default_is_the_newest() -> None:
    assert DEFAULT == OFFLINE[-1] == Squad.metric


def test_an_old_judge_never_changes() -> None:
    """Rows that ``offline-1`` graded keep their meaning."""
    found = shipped("offline-1")
    assert found.intercept == -2.2412
    assert found.weights == {"new_recall": 1.1004, "trigram_recall": 4.0077, "numbers": 1.2765, "length": -0.265}


@given(answers, answers, answers)
def test_measures_are_bounded(question: str, gold: str, answer: str) -> None:
    for judge in OFFLINE:
        found = FEATURES[judge](question, gold, answer)
        assert found["numbers"] in (-1, 0, 1)
        shares = {"new_recall", "trigram_recall", "likeness", "precision", "precise_likeness", "names", "asked"}
        assert all(0 <= found[name] <= 1 for name in shares & found.keys())


def test_an_unknown_judge_is_answered_with_the_nearest() -> None:
    with pytest.raises(HarnessError, match="Did you mean 'offline-"):
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


def _files() -> list[Path]:
    folders = [shared(f"seal/{folder}") for folder in ("scored", "continued_pretraining", "v2")]
    return [path for folder in folders for path in sorted(folder.glob("*.json"))]


def test_the_shipped_coefficients_agree_as_they_say() -> None:
    said = json.loads(shipped_text("offline-1"))
    found = calibrate(OfflineJudge("offline-1"), read_verdicts(_files()))
    assert found.held_out is not None
    assert found.held_out.kappa == pytest.approx(said["held_out"]["kappa"], abs=1e-3)
    assert said["held_out"]["kappa_ci95"][0] > 0.68
    assert all(is_train_title(title) for title in said["train_titles"])


@pytest.mark.slow
@pytest.mark.parametrize("judge", OFFLINE)
def test_training_gives_the_shipped_coefficients(judge: str, tmp_path: Path) -> None:
    out = tmp_path / "made.json"
    done = CliRunner().invoke(app, ["train", *map(str, _files()), "--judge", judge, "--out", str(out)])
    assert done.exit_code == 0, done.output
    made, said = json.loads(out.read_text("utf-8")), json.loads(shipped_text(judge))
    assert made["weights"] == pytest.approx(said["weights"], abs=1e-3)
    assert made["intercept"] == pytest.approx(said["intercept"], abs=0.02)
    assert made["error"]["by_arm"] == pytest.approx(said["error"]["by_arm"], abs=0.005)
    assert made["titles_left_out"]["kappa"] == pytest.approx(said["titles_left_out"]["kappa"], abs=0.003)


def test_offline_2_is_nearer_to_the_reference_than_offline_1() -> None:
    """On titles that the fits left out, over the same answers; and less of its error is bias."""
    one, two = (json.loads(shipped_text(judge)) for judge in OFFLINE)
    assert two["titles_left_out"]["n"] == one["titles_left_out"]["n"]
    assert two["titles_left_out"]["kappa"] > one["titles_left_out"]["kappa"] + 0.01
    assert abs(two["error"]["bias"]) < abs(one["error"]["bias"]) / 2
    assert two["error"]["spread"] < one["error"]["spread"]


COLOURS = ("red", "green", "blue", "white", "black", "grey", "pink", "brown")


def _records(arms: int, titles: int = 24) -> list[Recorded]:
    """Arms whose answers are plainly right or wrong; in the last arm every eighth verdict is inverted."""
    out = []
    for arm in range(arms):
        for at in range(titles * 4):
            gold, right = COLOURS[at % 8], (at + at // 8 + arm) % 2 == 0
            said = gold if right else COLOURS[(at + 3) % 8]
            told = True if arm == arms - 1 and at % 4 == 0 else right
            out.append(Recorded(f"T{at % titles}", f"Which colour, {at}?", gold, f"{said}, {arm}", told, f"arm {arm}"))
    return out


@pytest.mark.parametrize("judge", OFFLINE)
def test_an_arms_bias_is_measured_by_fits_that_left_it_out(judge: str) -> None:
    records = _records(4)
    found = left_out(judge, records)
    assert list(found) == ["arm 0", "arm 1", "arm 2", "arm 3"]
    assert [found[f"arm {arm}"] for arm in range(3)] == pytest.approx([0, 0, 0], abs=0.02)
    turned = [one for one in records if one.arm == "arm 3"]
    by_text = sum(one.answer.startswith(one.gold) for one in turned)
    expected = (by_text - sum(one.correct for one in turned)) / len(turned)
    assert found["arm 3"] == pytest.approx(expected, abs=0.02)
    assert abs(expected) > 0.1
    trained = train(judge, distinct(records), records)
    assert trained.error is not None
    assert trained.error.arms == 4
    assert agreement(judge, distinct(records)).n == len(records)


def test_fewer_than_three_arms_measure_no_error() -> None:
    records = _records(2)
    assert left_out("offline-2", records) == {}
    assert train("offline-2", distinct(records), records).error is None


def test_only_learned_judges_are_trained() -> None:
    with pytest.raises(HarnessError, match="only offline-1 and offline-2 are learned, not 'exact'"):
        train("exact", distinct(_records(1)))


def test_calibrate_prints_agreement_and_order() -> None:
    path = shared("seal/scored/val_base.json")
    done = CliRunner().invoke(app, ["calibrate", str(path), "--judge", "exact", "--json"])
    found = json.loads(done.stdout)["judges"][0]
    assert done.exit_code == 0
    assert {"judge", "accuracy", "kappa", "kappa_ci95", "arms", "swaps"} <= found.keys()
    assert found["swaps"] == [["val_base", "val_base (no update)"]]
    assert found["seen"] == 0
    learned = CliRunner().invoke(app, ["calibrate", str(path), "--judge", "offline-2"])
    assert "offline-2: its fit saw the titles of" in learned.stdout
