"""Tasks of grid puzzles: the model meets a few demonstrations, adapts to them, and is asked the test inputs.

An episode is a puzzle. Its context is ``{"demos": [{"input": grid, "output": grid}, ...]}``; each test input is a query
``{id}-{i}`` with ``meta = {"input": grid, "demos": [...]}``; a reference is the solution as JSON. Grids are lists of
rows of colours 0 to 9. The metric ``solved`` is 1 where every test input of the puzzle is solved within two attempts
(:mod:`harness.tasks.arc.evaluator`), so that its mean over episodes is the share of puzzles solved.
"""

from __future__ import annotations

import json
import random
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

from harness.api import JSON, EditFailed, Episode, Example, Prompt, Query, Recipe, References, Score, Split, Task
from harness.errors import UsageError
from harness.tasks.arc.grid import BadGrid, Grid, Lesson, Pair, Puzzle, grid_from_json, grid_of
from harness.tasks.arc.load import read_puzzles, select
from harness.tasks.arc.text import FORMS, GridText
from harness.tasks.arc.ttt import TttArgs, training_lessons


class GridTask(Task):
    """A task of grid puzzles, wherever they come from: the base of ``arc`` and of any other such task."""

    name: str
    version: str
    metric: str = "solved"
    recipes: ClassVar[tuple[str, ...]] = ("ttt",)
    public: ClassVar[tuple[str, ...]] = ("text",)

    def __init__(self, text: GridText, max_characters: int, max_examples: int = 250) -> None:
        """
        Args:
            text: how grids are written in prompts and answers.
            max_characters: training sequences longer than this are left out. In both text forms a token is hardly
                ever more than one character, so this bounds their tokens without a tokenizer.
            max_examples: training sequences per edit; where there are more, this many are drawn.
        """
        self.text = text
        self.max_characters = max_characters
        self.max_examples = max_examples

    @abstractmethod
    def puzzles(self, split: Split) -> Sequence[Puzzle]:
        """The puzzles of a split in their fixed order."""

    def load(self, split: Split, /) -> Sequence[tuple[Episode, References]]:
        return [episode_of(puzzle, split) for puzzle in self.puzzles(split)]

    def prompt(self, query: Query, memory: JSON, /, *, chat: bool) -> Prompt:
        """All demonstrations, then the test input. The memory is not shown: the demonstrations are the context."""
        return self.text.prompt(demos_of(query.meta), grid_of(query.meta["input"]), chat=chat)

    def expand(self, recipe: Recipe, episode: Episode, seed: int, /) -> Sequence[Example]:
        """The recipe ``ttt``: training examples from the demonstrations (:class:`~harness.tasks.arc.ttt.TttArgs`).

        Raises:
            EditFailed: unknown recipe, wrong argument, nothing to train on, or more steps than allowed.
        """
        if recipe.name not in self.recipes:
            raise EditFailed(f"task {self.name} has no recipe {recipe.name!r}; it has {', '.join(self.recipes)}")
        args, rng = TttArgs.of(recipe.args), random.Random(seed)
        lessons = training_lessons(demos_of(episode.context), args, rng)
        examples = [example for lesson in lessons if (example := self.example(lesson, args)) is not None]
        if not examples:
            raise EditFailed(f"none of {len(lessons)} training examples is within {self.max_characters} characters")
        if len(examples) > self.max_examples:
            rng.shuffle(examples)
            del examples[self.max_examples :]
        steps = args.epochs * len(examples) // args.batch_size
        if args.max_steps and steps > args.max_steps:
            raise EditFailed(f"{steps} optimiser steps, more than {args.max_steps}")
        return examples

    def example(self, lesson: Lesson, args: TttArgs) -> Example | None:
        """The lesson as a training sequence; None where it is too long."""
        prompt = self.text.prompt(lesson.demos, lesson.test.input, chat=args.chat)
        target = self.text.answer(lesson.test.output)
        length = len(prompt) if isinstance(prompt, str) else sum(len(text) for _, text in prompt)
        if length + len(target) > self.max_characters:
            return None
        return Example(prompt, target)

    def extract(self, query: Query, answer: str, /) -> str | None:
        """The stated grid as JSON; None where the answer is not exactly one grid. A grid in JSON is an answer too."""
        grid = grid_from_json(answer)
        if grid is not None:
            return grid_json(grid)
        try:
            return grid_json(self.text.parse(answer))
        except BadGrid:
            return None

    def same(self, query: Query, a: str, b: str, /) -> bool:
        return a == b

    def remarks(self, scores: Sequence[Sequence[Sequence[Score]]], /) -> list[str]:
        """A note on the row: how many pairs of puzzle and edit were solved, as papers count them.

        Args:
            scores: for each puzzle, for each of its edits, the scores of its test inputs.
        """
        from harness.stats import wilson

        pairs = [edit[0].value for puzzle in scores for edit in puzzle]
        solved = [value for value in pairs if value is not None]
        if not solved:
            return []
        among = wilson(round(sum(solved)), len(solved))
        interval = f"{100 * among.low:.0f}–{100 * among.high:.0f}"
        return [f"solved {sum(solved):.0f} of {len(solved)} pairs of puzzle and edit (Wilson {interval})"]


def as_grids(task: Task, who: str) -> GridTask:
    """The session's task as one of grid puzzles. Components must not call its ``load`` or ``puzzles``.

    Args:
        who: the component that needs grids, for the message, such as ``evaluator grids``.

    Raises:
        UsageError: the task has no grids.
    """
    if not isinstance(getattr(task, "text", None), GridText):
        raise UsageError(f"{who} needs grid puzzles; task {task.name!r} has none. Use --task arc")
    return cast("GridTask", task)


class Arc(GridTask):
    """ARC-AGI-1, or any puzzles in its format, ARC-AGI-2 among them (arXiv 1911.01547; SEAL, arXiv 2506.10943, 4.2)."""

    name = "arc"
    version = "arc-1"

    @dataclass(frozen=True)
    class Settings:
        data: str = ""
        """Folder or file of the puzzles (:mod:`harness.tasks.arc.load`)."""
        train: str = "seal-train"
        """``seal-train``, ``seal-eval``, ``training``, ``evaluation``, ``all``, or comma-separated ids."""
        validation: str = ""
        """As ``train``; "" leaves the split empty."""
        test: str = "seal-eval"
        """As ``train``."""
        text: Literal["numpy", "compact"] = "numpy"
        """How grids are written (:mod:`harness.tasks.arc.text`)."""
        max_characters: int = 8192
        """Longer training sequences are left out."""
        max_examples: int = 250
        """Training sequences per edit; where there are more, this many are drawn."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(FORMS[settings.text], settings.max_characters, settings.max_examples)
        self.settings = settings

    def puzzles(self, split: Split) -> Sequence[Puzzle]:
        """The puzzles of a split, in the order of its subset.

        Raises:
            UsageError: the data are absent or invalid, or a puzzle is in two splits.
        """
        if split == "made":
            return ()
        collections = read_puzzles(self.settings.data)
        subsets = {"train": self.settings.train, "validation": self.settings.validation, "test": self.settings.test}
        splits = {name: select(collections, subset) if subset else () for name, subset in subsets.items()}
        seen: dict[str, str] = {}
        for name, puzzles in splits.items():
            for puzzle in puzzles:
                if seen.setdefault(puzzle.id, name) != name:
                    raise UsageError(f"task arc: {puzzle.id} is in two splits, {seen[puzzle.id]} and {name}")
        return splits[split]


def episode_of(puzzle: Puzzle, split: Split) -> tuple[Episode, References]:
    """A puzzle as an episode with its references."""
    demos = [{"input": as_lists(pair.input), "output": as_lists(pair.output)} for pair in puzzle.demos]
    queries = tuple(
        Query(puzzle.subtask(at), f"test input {at}", {"input": as_lists(grid), "demos": demos})
        for at, grid in enumerate(puzzle.tests)
    )
    references = {query.id: (grid_json(grid),) for query, grid in zip(queries, puzzle.solutions, strict=True)}
    return Episode(puzzle.id, split, {"demos": demos}, queries), references


def demos_of(holder: Mapping[str, Any]) -> tuple[Pair, ...]:
    """The demonstrations of an episode's context or a query's meta."""
    return tuple(Pair(grid_of(demo["input"]), grid_of(demo["output"])) for demo in holder["demos"])


def as_lists(grid: Grid) -> list[list[int]]:
    return [list(row) for row in grid]


def grid_json(grid: Grid) -> str:
    """The canonical JSON text of a grid, in which references and answers are compared."""
    return json.dumps(as_lists(grid), separators=(",", ":"))
