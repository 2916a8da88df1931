"""The methods on the embedded model, from end to end: methods and controls in one table, and the papers' signatures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from harness_lab_maths import world
from harness_lab_maths.maths_model import LabMathsModel
from harness_lab_maths.maths_task import LabMaths
from harness_selection.evolve import EvolInstruct
from harness_selection.methods import EVOL_INSTRUCT

from harness.api import Request
from harness.books.store import WeightStore
from harness.evidence.result import Row
from harness.models.hf_settings import HfSettings
from harness.runs import runner
from harness.testing.scripted import open_session
from tests.selection.test_icm import Learner


def rows(folder: Path, method: str, **more: Any) -> dict[str, Row]:
    """The rows of a run with the quick preset."""
    given = {"method": method, "model": "lab-maths", "preset": "quick", "out": str(folder), "leaderboard": ""}
    done = runner.run({**given, **more})
    assert done.complete
    return {row.method: row for row in done.result.rows}


def score(row: Row) -> float:
    return fmean(value for seed in row.scores for value in seed if value is not None)


def said(row: Row, name: str) -> float:
    """The share of right labels that a row's notes name, in percent."""
    found = re.search(rf"{re.escape(name)} (\d+\.\d)%", " ".join(row.notes))
    assert found is not None, row.notes
    return float(found[1])


@pytest.mark.slow
def test_icm_comes_near_to_right_labels_and_far_from_random_ones(tmp_path: Path) -> None:
    found = rows(tmp_path, "icm")
    assert said(found["icm"], "label, batch 1") > said(found["icm-random"], "label, batch 1") + 20
    assert score(found["icm"]) > score(found["icm-oracle"]) - 0.15
    assert said(found["icm"], "label, batch 1") > said(found["icm-zero-shot"], "label, batch 1")
    labels = {name: row.costs["labels"] for name, row in found.items()}
    assert labels == {"icm": 0, "icm-zero-shot": 0, "icm-random": 0, "icm-oracle": 40}


@pytest.mark.slow
def test_what_daar_selects_teaches_more_than_as_many_random_stories(tmp_path: Path) -> None:
    """On the preset's pool, in which what the model does not know is rare; the README has other pools."""
    found = rows(tmp_path, "daar", beside=["daar-random"])
    assert score(found["daar"]) > score(found["daar-random"]) + 0.05


def test_what_is_eliminated_of_the_embedded_models_questions_is_bad(tmp_path: Path) -> None:
    """At a temperature at which it writes badly. Good is the parent with one more event; the rules do not see that."""
    (tmp_path / "weights").mkdir()
    weights = WeightStore(tmp_path / "weights")
    model = LabMathsModel(HfSettings(path="", device="cpu"), weights)
    generate, written = model.generate, {}

    def heard(asks: Sequence[Request], /) -> Any:
        rows = generate(asks)
        written.update({str(ask.prompt): row[0].text for ask, row in zip(asks, rows, strict=True)})
        return rows

    model.generate = heard  # type: ignore[method-assign]
    task, slots = LabMaths(LabMaths.Settings(train=60, test=2)), {"sft": ("updater", Learner())}
    s = open_session(tmp_path, task, {"teacher": model}, slots, weights=weights, sees="context+queries")
    own = {**EVOL_INSTRUCT.presets["quick"]["trainer"], "generations": 1, "samples": 1, "backward": "", "learn": 1}
    list(EvolInstruct(EvolInstruct.Settings(**{**own, "temperature": 2.0})).run(s.sealed))
    kept = {episode.queries[0].text for episode in s.episodes("made")}
    bad: dict[bool, list[bool]] = {True: [], False: []}
    for problem in (world.parse(episode.queries[0].text) for episode in s.episodes("train")):
        assert problem is not None
        found = re.search(own["pattern"], written[world.ask_harder(problem.text)])
        child = world.parse(found[1]) if found else None
        fine = child is not None and child.events[:-1] == problem.events and child.start == problem.start
        bad[bool(found and found[1] in kept)].append(not fine)
    assert min(len(bad[True]), len(bad[False])) >= 10
    assert fmean(bad[False]) > fmean(bad[True]) + 0.3


@pytest.mark.slow
def test_where_a_models_errors_are_at_random_reliable_votes_are_better_than_its_own_labels(tmp_path: Path) -> None:
    found = rows(
        tmp_path, "simple", beside=["simple-plain", "simple-voted"], preset="lab-maths", task={"gap": 89},
        trainer={"noise": 0.3, "dropout": 0.1, "layer": 2, "neighbours": 50}, sft={"epochs": 16},
    )  # fmt: skip
    right = {name: said(row, "; label") for name, row in found.items()}
    assert said(found["simple"], "kept pass") > said(found["simple"], "dropped pass") + 20
    assert right["simple"] > max(right["simple-plain"], right["simple-voted"]) + 1


@pytest.mark.slow
def test_questions_get_harder_and_the_backward_check_keeps_right_answers(tmp_path: Path) -> None:
    found = rows(tmp_path, "evol-instruct", beside=["evol-instruct-seeds"], seeds=2)
    shares: dict[str, list[float]] = {}
    notes = " ".join(found["evol-instruct"].notes)
    for name, share in re.findall(r"(FOBAR \w+|generation \d, one answer) (\d+\.\d)%", notes):
        shares.setdefault(name, []).append(float(share))
    assert all(len(of_seeds) == 2 for of_seeds in shares.values())
    right = {name: fmean(of_seeds) for name, of_seeds in shares.items()}
    assert right["FOBAR kept"] > right["FOBAR dropped"] + 15
    assert right["generation 2, one answer"] < right["generation 0, one answer"]
    assert all(not one.costs["labels"] for one in found.values())
