"""The recipe ``ttt``: how many examples, which, and what is refused."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from harness.api import EditFailed, Episode, Recipe, Split
from harness.tasks.arc import FORMS, GridTask, Pair, Puzzle
from harness.tasks.arc.augment import GROUPS
from harness.tasks.arc.task import episode_of
from harness.tasks.arc.ttt import TttArgs, leave_out, training_lessons, variants


def made_puzzle(demos: int, side: int = 3) -> Puzzle:
    """A puzzle of random grids, none like another under any augmentation."""
    rng = random.Random(demos)

    def grid() -> tuple[tuple[int, ...], ...]:
        return tuple(tuple(rng.randrange(10) for _ in range(side)) for _ in range(side))

    return Puzzle("made", tuple(Pair(grid(), grid()) for _ in range(demos)), (grid(),), (grid(),))


class Made(GridTask):
    name, version = "made", "1"

    def __init__(
        self, puzzle: Puzzle, text: str = "compact", max_characters: int = 8192, max_examples: int = 250
    ) -> None:
        super().__init__(FORMS[text], max_characters, max_examples)
        self.puzzle = puzzle

    def puzzles(self, split: Split) -> Sequence[Puzzle]:
        return [self.puzzle]


def expanded(puzzle: Puzzle, args: dict[str, Any], seed: int = 0, **settings: Any) -> list[Any]:
    task = Made(puzzle, **settings)
    episode: Episode = task.load("train")[0][0]
    return list(task.expand(Recipe("ttt", args), episode, seed))


@pytest.mark.parametrize("n", [2, 3, 4, 6])
def test_leave_n_counts(n: int) -> None:
    """2 N² lessons without augmentation, 48 N² with all of it, before duplicates are dropped."""
    demos = made_puzzle(n).demos
    assert len(list(leave_out(demos, 1))) == n
    assert len(list(leave_out(demos, 2))) == n * (n - 1)
    assert len(list(variants(demos, TttArgs(), random.Random(0)))) == 2 * n * n
    every = TttArgs(augment=("basic", "size", "chain", "repeat"))
    assert len(list(variants(demos, every, random.Random(0)))) == 48 * n * n


def test_only_different_lessons_are_kept() -> None:
    demos = made_puzzle(3).demos
    lessons = training_lessons(demos, TttArgs(), random.Random(0))
    assert len(lessons) == len(set(lessons)) == len(set(variants(demos, TttArgs(), random.Random(0))))


def test_the_test_input_and_its_solution_are_never_trained_on() -> None:
    puzzle = made_puzzle(4)
    text = FORMS["compact"]
    for example in expanded(puzzle, {"augment": list(GROUPS)}, max_examples=10_000):
        shown = example.prompt + example.target
        assert text.grid(puzzle.tests[0]) not in shown
        assert text.grid(puzzle.solutions[0]) not in shown


def test_caps_on_number_and_length() -> None:
    puzzle = made_puzzle(4)
    every = expanded(puzzle, {"augment": ["basic"]}, max_examples=10_000)
    some = expanded(puzzle, {"augment": ["basic"]}, max_examples=24)
    assert len(some) == 24
    assert all(example in every for example in some)
    short = expanded(puzzle, {"augment": ["basic"]}, max_examples=10_000, max_characters=170)
    assert short == [example for example in every if len(example.prompt) + len(example.target) <= 170]
    assert 0 < len(short) < len(every)
    with pytest.raises(EditFailed, match="none of 24 training examples is within 10 characters"):
        expanded(puzzle, {}, max_characters=10)


def test_an_instruct_model_is_taught_in_the_turns_in_which_it_is_asked() -> None:
    puzzle = made_puzzle(2)
    task = Made(puzzle, text="numpy")
    (example, *_) = expanded(puzzle, {"chat": True}, text="numpy")
    demos, test = puzzle.demos[1:], puzzle.demos[0]
    assert example.prompt == task.text.prompt(demos, test.input, chat=True)
    assert [role for role, _ in example.prompt] == ["system", "user"]
    assert example.target == task.text.answer(test.output)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"agment": []}, "agment: Unexpected keyword"),
        ({"augment": ["rotation"]}, r"augment\.0: Input should be 'basic'"),
        ({"leave_n": []}, "leave_n"),
        ({"leave_n": [0]}, r"leave_n\.0: Input should be greater than or equal to 1"),
        ({"permute_n": True}, "permute_n: Input should be a valid integer"),
    ],
)
def test_wrong_arguments_fail_the_edit(args: dict[str, Any], message: str) -> None:
    with pytest.raises(EditFailed, match=f"recipe ttt: {message}"):
        expanded(made_puzzle(2), args)


def test_too_many_steps_fail_the_edit() -> None:
    """More than 375 steps were set to none in the published pipeline."""
    puzzle, every = made_puzzle(4), {"augment": list(GROUPS), "batch_size": 2, "max_steps": 375}
    assert len(expanded(puzzle, {**every, "epochs": 3})) == 250
    with pytest.raises(EditFailed, match="500 optimiser steps, more than 375"):
        expanded(puzzle, {**every, "epochs": 4})


def test_an_unknown_recipe_fails_the_edit() -> None:
    task = Made(made_puzzle(2))
    with pytest.raises(EditFailed, match="task made has no recipe 'lines'; it has ttt"):
        task.expand(Recipe("lines"), episode_of(task.puzzle, "train")[0], 0)


def test_data_depend_on_the_seed_and_not_on_hash_order() -> None:
    """The reference's data change with PYTHONHASHSEED, because it keeps them in sets."""
    script = (
        "from tests.arc.test_ttt import *; from harness.books.records import digest\n"
        "args = {'augment': [*GROUPS]}\n"
        "print(digest(expanded(made_puzzle(3), args, 7)))"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert runs[0] == runs[1] != ""
    puzzle = made_puzzle(3)
    assert expanded(puzzle, {}, 1, max_examples=5) != expanded(puzzle, {}, 2, max_examples=5)
