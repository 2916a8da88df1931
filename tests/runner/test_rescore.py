"""``harness rescore`` grades stored answers again, and ``harness export`` writes what its help says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import harness
from harness.api import Request
from harness.errors import UsageError
from harness.evidence.sources import open_source
from harness.evidence.view.page import write_page
from harness.judges.base import Budget
from harness.runs.export import export_policy
from harness.runs.rescore import changed, rescore
from tests.runner.test_runner import PLUGIN, config, run


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> harness.Run:
    """A run whose answers are graded by the judge ``exact``: the animals' names."""
    folder = tmp_path_factory.mktemp("graded")
    more = {"evaluator": {"use": "closed-book", "judge": "exact"}, "limit": 4, "seeds": 2}
    return harness.run(config(folder, **more), plugin_files=[PLUGIN])


def test_answers_are_graded_again_without_the_model(
    graded: harness.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(self: object, asks: list[Request]) -> None:
        raise AssertionError("the model was asked")

    monkeypatch.setattr("harness.testing.ScriptedLM.generate", asked)
    before = (graded.folder / "result.json").read_bytes()
    scores = next((graded.folder / "scores").glob("bare-0.jsonl"))
    text = scores.read_text()
    to = rescore(graded.folder, "f1", tmp_path / "f1", budget=Budget())
    found = json.loads((to / "result.json").read_text())
    assert found["run"] == f"{graded.folder.name}-f1"
    rows = open_source(str(to)).found.rows
    assert [row.conditions["metric"] for row in rows] == ["f1", "f1"]
    assert [row.expected for row in rows] == [8, 8]
    assert (graded.folder / "result.json").read_bytes() == before, "the run stays as it is"
    assert scores.read_text() == text
    write_page([graded.folder, to], tmp_path / "page.html")
    with pytest.raises(UsageError, match="exists"):
        rescore(graded.folder, "f1", to, budget=Budget())


def test_the_same_judge_gives_the_same_scores_and_conditions(graded: harness.Run, tmp_path: Path) -> None:
    to = rescore(graded.folder, "exact", tmp_path / "exact", budget=Budget())
    before, after = open_source(str(graded.folder)).found, open_source(str(to)).found
    assert [row.scores for row in after.rows] == [row.scores for row in before.rows]
    assert [row.conditions for row in after.rows] == [row.conditions for row in before.rows], "they may be compared"
    assert not list(changed(before, after))


def test_a_judge_that_sees_more_moves_the_marks(graded: harness.Run, tmp_path: Path) -> None:
    """The answer is changed on disk: it now holds the name among other words, which ``exact`` does not take."""
    path = graded.folder / "scores" / "animals-0.jsonl"
    kept = path.read_text()
    try:
        lines = [json.loads(line) for line in kept.splitlines()]
        for line in lines:
            line["answers"] = [f"{line['answers'][0]}, I think"]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        exact, contains = (
            open_source(str(rescore(graded.folder, judge, tmp_path / judge, budget=Budget()))).row
            for judge in ("exact", "contains")
        )
    finally:
        path.write_text(kept)
    assert sum(value or 0 for value in exact.scores[0]) == 0
    assert sum(value or 0 for value in contains.scores[0]) == 4


def test_what_cannot_be_graded_again_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path, limit=2)
    with pytest.raises(UsageError, match="takes no judge"):
        rescore(done.folder, "exact", budget=Budget())
    with pytest.raises(UsageError, match=r"unknown judge 'exat'.*exact"):
        rescore(done.folder, "exat", budget=Budget())
    (done.folder / "items" / "score.jsonl").unlink()
    with pytest.raises(UsageError, match="before questions were kept"):
        rescore(done.folder, "exact", budget=Budget())


def test_a_policy_that_is_one_adapter_is_written_for_peft(tmp_path: Path) -> None:
    done = run(tmp_path, limit=2)
    export_policy(done.folder, tmp_path / "adapter", adapter=True)
    wrote = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert wrote["peft_type"] == "LORA"
    assert (tmp_path / "adapter" / "adapter_model.safetensors").stat().st_size > 0
    more = run(tmp_path / "last", limit=2, checkpoint="last")
    with pytest.raises(UsageError, match="no single adapter"):
        export_policy(more.folder, tmp_path / "other", adapter=True)
    assert not (tmp_path / "other").exists()
