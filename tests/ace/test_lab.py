"""Both protocols on the embedded model of counting stories, as small as they get."""

from __future__ import annotations

import random
from pathlib import Path
from statistics import fmean

from harness_ace.dialects import Case
from harness_ace.learning import Learner, LearningSettings
from harness_ace.playbook import Playbook, Tally, playbook_of
from harness_lab_maths import world
from harness_lab_maths.maths_model import LabMathsModel
from harness_lab_maths.maths_task import LabMaths

from harness.books.store import WeightStore
from harness.models.hf_settings import HfSettings
from harness.runs import runner
from harness.testing.scripted import open_session
from harness.updaters.memory import Memory


def test_offline_with_its_controls(tmp_path: Path) -> None:
    done = runner.run(
        {
            "method": "ace",
            "model": "lab-maths",
            "out": str(tmp_path),
            "leaderboard": "",
            "seeds": 1,
            "beside": ["ace-hidden", "ace-rewrite"],
            "task": {"train": 6, "validation": 0, "test": 3},
            "trainer": {"batch": 3, "every": 3},
            "evaluator": {"samples": 2},
        }
    )
    assert done.complete
    rows = {row.method: row for row in done.result.rows}
    assert rows["ace"].costs["labels"] == rows["ace-rewrite"].costs["labels"] == 6
    assert rows["ace-hidden"].costs["labels"] == 0


def test_online_says_how_many_bits_of_the_test_it_learnt_from(tmp_path: Path) -> None:
    done = runner.run(
        {
            "method": "ace-online",
            "model": "lab-maths",
            "out": str(tmp_path),
            "leaderboard": "",
            "seeds": 1,
            "beside": ["ace-online-hidden"],
            "task": {"test": 7},
            "protocol": {"window": 3},
        }
    )
    assert done.complete
    rows = {row.method: row for row in done.result.rows}
    assert any("6 bits of the test's own labels" in note for note in rows["ace-online"].notes)
    assert any("0 bits of the test's own labels" in note for note in rows["ace-online-hidden"].notes)
    assert {table.name for table in done.result.tables} == {"score", "windows"}


def test_one_rewrite_by_the_embedded_model_loses_half_of_a_playbook_and_a_merge_by_rule_nothing(tmp_path: Path) -> None:
    """Context collapse (arXiv 2510.04618, section 2.2): a list of ten right notes, and an insight that repeats one."""
    (tmp_path / "weights").mkdir()
    weights = WeightStore(tmp_path / "weights")
    model = LabMathsModel(HfSettings(path="", device="cpu"), weights)
    task, slots = LabMaths(LabMaths.Settings(train=4, test=2)), {"playbook": ("updater", Memory())}
    roles = {"teacher": model, "student": model}
    s = open_session(
        tmp_path, task, roles, slots, roles={"reflector": "@teacher", "curator": "@teacher"}, weights=weights
    )
    rng = random.Random(1)
    left: dict[str, list[int]] = {"delta": [], "rewrite": []}
    for place in range(6):
        notes = [world.note(verb, hard.sign, rng) for verb, hard in world.HARD.items()]
        rng.shuffle(notes)
        for merge, counts in left.items():
            learner = Learner(LearningSettings(dialect="notes", merge=merge, max_tokens=64))  # type: ignore[arg-type]
            adds = [add for note in notes for add in (learner.dialect.delta(note) or ([], 0))[0]]
            full = learner.written(s.roles["student"], Playbook().added(adds), f"{merge}/{place}", s.sealed)
            case = Case("case", "", "", True, place)
            done = learner.merge(full, [(case, notes[0])], {}, f"{merge}/{place}/then", Tally(), s.sealed)
            counts.append(sum(right(one.text) for one in playbook_of(done.memory).shown()))
    assert left["delta"] == [10] * 6
    assert fmean(left["rewrite"]) < 6


def right(note: str) -> bool:
    verb, plain = note.rstrip(".").split()
    return world.PLAIN[plain] == world.HARD[verb].sign
