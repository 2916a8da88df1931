"""The methods on the embedded model, from end to end and as small as they get; the league's report of such a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness_lab_maths import world
from harness_lab_maths.maths_model import folder
from harness_lab_maths.maths_task import LabMaths, LabMathsSettings

from harness.evidence.result import Card, Row, TaskItems
from harness.runs import runner
from tests.scripts import benchmark


@pytest.mark.slow
def test_methods_and_controls_in_one_table(tmp_path: Path) -> None:
    done = runner.run(
        {
            "method": "ttrl-inductive",
            "model": "lab-maths",
            "out": str(tmp_path),
            "leaderboard": "",
            "beside": ["untrained", "ttrl-oracle"],
            "task": {"train": 4, "test": 3},
            "trainer": {"rounds": 1, "steps": 2, "contexts": 3, "samples": 4, "trained": 4},
            "evaluator": {"samples": 4},
            "also": {"maj-at-16": {"evaluator": {"use": "sampled", "measure": "maj@k", "samples": 4}}},
        }
    )
    assert done.complete
    rows = {row.method: row for row in done.result.rows}
    assert set(rows) == {"untrained", "ttrl-inductive", "ttrl-oracle"}
    assert all(not row.unranked for row in rows.values())
    assert rows["ttrl-inductive"].costs["labels"] == 0
    assert rows["ttrl-oracle"].costs["labels"] > 0
    assert any("labels that were right: label, round 1" in note for note in rows["ttrl-inductive"].notes)
    assert any("round 1 100.0%" in note for note in rows["ttrl-oracle"].notes)
    names = {table.name for table in done.result.tables}
    assert names == {"score", "maj-at-16"}
    text, verdicts = benchmark("league").report(done.result)
    assert "| `untrained` |" in text
    assert "oracle labels pass the votes" in text
    assert set(verdicts) == {"one seed"}


def test_novelty_is_of_the_bases_own_states(tmp_path: Path) -> None:
    given = {
        "method": "evol-rl",
        "model": "lab-maths",
        "out": str(tmp_path),
        "leaderboard": "",
        "beside": [],
        "also": {},
    }
    small = {"rounds": 1, "steps": 1, "contexts": 2, "samples": 4, "trained": 4}
    done = runner.run({**given, "task": {"train": 4, "test": 2}, "trainer": small, "also": {}})
    assert done.complete
    [row] = done.result.rows
    assert not row.unranked


def test_the_league_tells_kinds_of_problems_apart() -> None:
    task = LabMaths(LabMathsSettings(test=30))
    loaded = task.load("test")
    items = tuple((episode.id, tuple(query.id for query in episode.queries)) for episode, _ in loaded)
    parsed = [world.parse(episode.queries[0].text) for episode, _ in loaded]
    kinds = [one.kind for one in parsed if one]
    asked = TaskItems("lab-maths", "1", "test", "exact", items)
    module = benchmark("league")
    assert module.kinds(asked) == kinds
    scores = tuple(i / 30 for i in range(30))
    row = Row(
        "m", "p", Card(), "single", "", "", {}, seeds=(0,), scores=(scores,), status=("o" * 30,),
        expected=30, scored=30, failed=0, unparsed=0, errors=0,
    )  # fmt: skip
    of = {kind: module.narrowed(asked, row, kind) for kind in ("", "plain", "common", "rare")}
    assert of[""] == (asked, row)
    assert sum(len(mine.items) for mine, _ in of.values()) == 60
    for kind in ("plain", "common", "rare"):
        mine, one = of[kind]
        assert [scores.index(value) for value in one.scores[0]] == [i for i in range(30) if kinds[i] == kind]
        assert len(mine.items) == len(one.status[0]) == kinds.count(kind)


def test_the_packaged_model_is_small_and_says_what_made_it() -> None:
    assert sum(path.stat().st_size for path in folder().iterdir()) < 4_000_000
    assert (folder() / "pretraining.json").is_file()
