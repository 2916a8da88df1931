"""The task `lab-maths` and its model: the rules for tasks, answers, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness_lab_maths.maths_task import LabMaths

from harness.api import Query, Recipe
from harness.cli import main
from harness.errors import UsageError
from harness.testing import TaskContract

QUERY = Query("q", "Kim has 82 coins. finds 28. lends 12. how many?")


class TestLabMaths(TaskContract):
    component = LabMaths
    settings = {"train": 6, "validation": 4, "test": 8}  # noqa: RUF012
    recipes = (Recipe("passage"), Recipe("lines", {"text": "Kim has 82 coins.\nfinds 28."}))


def made(**settings: object) -> LabMaths:
    return LabMaths(LabMaths.Settings(**settings))  # type: ignore[arg-type]


def test_the_answer_is_the_last_number_after_so() -> None:
    task = made()
    assert task.extract(QUERY, "walk: 82+28=110. 110-12=98. so 98.") == "98"
    assert task.extract(QUERY, "so 3. no, so 098.") == "98"
    assert task.extract(QUERY, "so -4.") == "-4"
    assert task.extract(QUERY, " 98 ") == "98"
    assert task.extract(QUERY, "82+28=110.") is None
    assert task.extract(QUERY, "so many.") is None


def test_answers_are_the_same_as_numbers() -> None:
    task = made()
    assert task.same(QUERY, "98", "098")
    assert not task.same(QUERY, "98", "89")
    assert task.same(QUERY, "x", "x")


def test_it_can_solve_what_a_method_made() -> None:
    task = made()
    assert list(task.solutions(QUERY)) == ["98"]
    assert list(task.solutions(Query("q", "how many?"))) == []


def test_a_memory_and_strange_lengths_are_refused() -> None:
    with pytest.raises(UsageError, match="'passage'"):
        made().prompt(QUERY, {"passage": "a text"}, chat=False)
    with pytest.raises(UsageError, match="from 1 to 6"):
        made(events=(0,))
    with pytest.raises(UsageError, match="from 1 to 6"):
        made(events=())


def test_training_goes_on_where_it_was_and_exports_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import torch
    from harness_lab_maths.pretraining.train import Run, TrainSettings

    settings = TrainSettings(steps=3, tokens=400, warm_up=1)
    whole = Run(settings, tmp_path / "whole")
    for _ in range(3):
        whole.advance()
    first = Run(settings, tmp_path / "cut")
    first.advance()
    first.save()
    second = Run(settings, tmp_path / "cut")
    assert second.step == 1
    second.run(checkpoint_minutes=1)
    for one, other in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(one, other)
    said = command(["lab-maths", "train", str(tmp_path / "cut"), "--steps", "4"], 2, capsys)
    assert "other settings" in said
    command(["lab-maths", "export", str(tmp_path / "cut"), str(tmp_path / "model")], 0, capsys)
    assert (tmp_path / "model" / "pretraining.json").is_file()
    assert "no such file" in command(["lab-maths", "export", str(tmp_path), str(tmp_path / "model")], 2, capsys)


def command(arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> str:
    """What a command says to the user."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert (ended.value.code or 0) == code
    return capsys.readouterr().err
