"""The real ARC-AGI-1 tasks load, round-trip and come in the published subsets; bad files get one clear line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import UsageError
from harness.tasks.arc import FORMS, Arc
from harness.tasks.arc.load import SUBSETS, read_puzzles, select
from tests.shared_data import shared

TASK: dict[str, Any] = {
    "train": [{"input": [[1, 2]], "output": [[2, 1]]}, {"input": [[3, 4]], "output": [[4, 3]]}],
    "test": [{"input": [[5, 6]], "output": [[6, 5]]}],
}


def without_solutions(task: dict[str, Any]) -> dict[str, Any]:
    return {**task, "test": [{"input": test["input"]} for test in task["test"]]}


@pytest.mark.parametrize(("split", "subtasks"), [("training", 416), ("evaluation", 419)])
def test_all_real_tasks_load_and_round_trip(split: str, subtasks: int) -> None:
    folder = shared("arc")
    raw = json.loads((folder / f"{split}_challenges.json").read_text())
    solutions = json.loads((folder / f"{split}_solutions.json").read_text())
    puzzles = read_puzzles(str(folder))[split]
    assert len(puzzles) == 400
    assert sum(len(puzzle.tests) for puzzle in puzzles) == subtasks
    for puzzle in puzzles:
        demos = [{"input": [*map(list, p.input)], "output": [*map(list, p.output)]} for p in puzzle.demos]
        tests = [{"input": [*map(list, grid)]} for grid in puzzle.tests]
        assert {"train": demos, "test": tests} == raw[puzzle.id]
        assert [[*map(list, grid)] for grid in puzzle.solutions] == solutions[puzzle.id]


@pytest.mark.parametrize("form", sorted(FORMS))
def test_every_real_grid_survives_being_written_and_read(form: str) -> None:
    text = FORMS[form]
    for puzzles in read_puzzles(str(shared("arc"))).values():
        for puzzle in puzzles:
            for grid in (*puzzle.tests, *puzzle.solutions, *(pair.output for pair in puzzle.demos)):
                assert text.parse(text.answer(grid)) == grid


def test_the_published_form_is_numpys() -> None:
    for puzzle in read_puzzles(str(shared("arc")))["evaluation"]:
        for grid in puzzle.tests:
            assert FORMS["numpy"].grid(grid) == str(np.array(grid))


def test_the_paper_evaluates_the_first_nine_subtasks_of_a_seed_0_shuffle() -> None:
    """SEAL chose its 8 evaluation tasks by shuffling the sub-tasks of a filtered file (section 3.2)."""
    (filtered,) = read_puzzles(str(shared("arc/seal_eval_challenges.json"))).values()
    names = np.array([puzzle.subtask(at) for puzzle in filtered for at in range(len(puzzle.tests))])
    assert len(names) == 11
    np.random.RandomState(0).shuffle(names)
    chosen = {name.rsplit("-", 1)[0] for name in names[:9]}
    assert sorted(chosen) == list(SUBSETS["seal-eval"])


def test_the_paper_trains_on_all_filtered_tasks_but_one() -> None:
    (filtered,) = read_puzzles(str(shared("arc/seal_train_challenges.json"))).values()
    assert {puzzle.id for puzzle in filtered} - {*SUBSETS["seal-train"]} == {"8e1813be"}
    collections = read_puzzles(str(shared("arc")))
    assert sum(len(puzzle.tests) for puzzle in select(collections, "seal-train")) == 12
    assert sum(len(puzzle.tests) for puzzle in select(collections, "seal-eval")) == 9


def test_episodes_hold_no_solution() -> None:
    folder = shared("arc")
    raw = json.loads((folder / "evaluation_challenges.json").read_text())
    for episode, references in Arc(Arc.Settings(data=str(folder))).load("test"):
        assert episode.context == {"demos": raw[episode.id]["train"]}
        assert [dict(query.meta) for query in episode.queries] == [
            {"input": test["input"], "demos": raw[episode.id]["train"]} for test in raw[episode.id]["test"]
        ]
        assert [query.id for query in episode.queries] == list(references)


def test_one_file_a_task(tmp_path: Path) -> None:
    """The layout of the public repositories, ARC-AGI-2's included."""
    for folder, name in (("training", "aa"), ("evaluation", "bb")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.json").write_text(json.dumps(TASK))
    task = Arc(Arc.Settings(data=str(tmp_path), train="training", test="evaluation"))
    assert [episode.id for episode, _ in task.load("train")] == ["aa"]
    ((episode, references),) = task.load("test")
    assert episode.id == "bb"
    assert references == {"bb-0": ("[[6,5]]",)}
    assert task.load("validation") == []


def test_a_folder_of_ones_own_tasks(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        (tmp_path / f"{name}.json").write_text(json.dumps(TASK))
    task = Arc(Arc.Settings(data=str(tmp_path), train="a", test="b,c"))
    assert [episode.id for episode, _ in task.load("test")] == ["b", "c"]
    with pytest.raises(UsageError, match="a is in two splits, train and test"):
        Arc(Arc.Settings(data=str(tmp_path), train="a", test="all")).load("test")
    with pytest.raises(UsageError, match=r"no subset or task 'seal-evl' in the data\. Did you mean 'seal-eval'"):
        Arc(Arc.Settings(data=str(tmp_path), train="a", test="seal-evl")).load("test")
    with pytest.raises(UsageError, match="8 of 8 tasks are not in the data: 59341089"):
        Arc(Arc.Settings(data=str(tmp_path), train="a")).load("test")


def test_an_edited_file_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text(json.dumps(TASK))
    assert len(read_puzzles(str(file))["all"][0].demos) == 2
    file.write_text(json.dumps({**TASK, "train": TASK["train"][:1]}))
    assert len(read_puzzles(str(file))["all"][0].demos) == 1


def test_edited_solutions_are_read_again(tmp_path: Path) -> None:
    challenges, solutions = tmp_path / "my_challenges.json", tmp_path / "my_solutions.json"
    challenges.write_text(json.dumps({"x1": without_solutions(TASK)}))
    solutions.write_text(json.dumps({"x1": [[[6, 5]]]}))
    assert read_puzzles(str(tmp_path))["all"][0].solutions == (((6, 5),),)
    solutions.write_text(json.dumps({"x1": [[[1, 2, 3]]]}))
    assert read_puzzles(str(tmp_path))["all"][0].solutions == (((1, 2, 3),),)
    solutions.unlink()
    with pytest.raises(UsageError, match="its solutions are missing"):
        read_puzzles(str(tmp_path))


def _put(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(task: dict[str, Any]) -> None:
        *parents, last = path.split(".")
        at: Any = task
        for key in parents:
            at = at[int(key) if key.isdigit() else key]
        at[int(last) if last.isdigit() else last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_put("train.0.input", [[1, 2], [3]]), r"train\[0\]\.input row 1 has 1 cells, row 0 has 2"),
        (_put("train.1.output", [[1, 10]]), r"train\[1\]\.output row 0, column 1 holds 10, not a whole number from 0"),
        (_put("train.1.output", [[True]]), r"train\[1\]\.output row 0, column 0 holds True"),
        (_put("test.0.input", [[0] * 31]), r"test\[0\]\.input row 0 has 31 cells, more than 30"),
        (_put("test.0.input", [[0]] * 31), r"test\[0\]\.input has 31 rows, more than 30"),
        (_put("test.0.input", []), r"test\[0\]\.input is not a non-empty list of rows"),
        (_put("test.0", {"input": [[1]]}), r"test\[0\]: 'output' is missing \(the solution"),
        (_put("train.0", {"output": [[1]]}), r"train\[0\]: 'input' is missing"),
        (_put("train", []), "'train' is not a non-empty list"),
    ],
)
def test_bad_tasks_are_refused_with_file_task_and_field(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    task = json.loads(json.dumps(TASK))
    change(task)
    (tmp_path / "x1.json").write_text(json.dumps(task))
    with pytest.raises(UsageError, match=rf"x1\.json: task x1: {message}") as error:
        read_puzzles(str(tmp_path))
    assert "\n" not in str(error.value)


def test_solutions_that_do_not_match(tmp_path: Path) -> None:
    challenges, solutions = tmp_path / "my_challenges.json", tmp_path / "my_solutions.json"
    challenges.write_text(json.dumps({"x1": without_solutions(TASK)}))
    with pytest.raises(UsageError, match=r"its solutions are missing: no file my_solutions\.json beside it"):
        read_puzzles(str(tmp_path))
    solutions.write_text(json.dumps({"x1": [[[1]], [[2]]]}))
    with pytest.raises(UsageError, match="task x1: 2 solutions for 1 test inputs"):
        read_puzzles(str(tmp_path))
    solutions.write_text("{}")
    with pytest.raises(UsageError, match=r"my_solutions\.json: task x1: its solutions are missing"):
        read_puzzles(str(tmp_path))
    solutions.write_text(json.dumps({"x1": [[[6, 5]]]}))
    assert read_puzzles(str(tmp_path))["all"][0].solutions == (((6, 5),),)


def test_no_data_says_what_to_give(tmp_path: Path) -> None:
    for data, message in (("", "no data"), (str(tmp_path / "no"), "no such file"), (str(tmp_path), "no ARC tasks in")):
        with pytest.raises(UsageError, match=f"task arc: {message}.*training_challenges.json"):
            read_puzzles(data)
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(UsageError, match=r"broken\.json: line 1, column 2: not JSON"):
        read_puzzles(str(tmp_path))
