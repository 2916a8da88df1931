"""``harness show TASK_ID``: the grids of a puzzle, and what a run answered, in the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from harness.tasks.arc import Puzzle


def command(
    puzzle: Annotated[str, typer.Argument(metavar="TASK_ID", help="Id of the puzzle, such as 59341089.")],
    data: Annotated[str, typer.Option(help="Folder or file of ARC tasks; without it, the embedded ones.")] = "",
    task: Annotated[str, typer.Option(help="Task whose puzzles are shown; by default arc with --data.")] = "",
    run: Annotated[Path | None, typer.Option(help="Folder of a run whose attempts are shown beside the truth.")] = None,
) -> None:
    """Draw a puzzle's demonstrations, test inputs and solutions.

    Example:  harness show 59341089 --data ../ARC-AGI/data
    """
    from rich.console import Console

    found = find(puzzle, data, task or ("arc" if data else "lab-grids"))
    print_puzzle(Console(), found, [] if run is None else list(attempts(run, found)))


def find(name: str, data: str, task: str) -> Puzzle:
    """The puzzle of that id, of any split or collection.

    Raises:
        UsageError: there is none, or the task is none of grid puzzles.
    """
    from harness.components import build
    from harness.errors import UsageError, nearest
    from harness.plugins import Plugins
    from harness.tasks.arc import GridTask
    from harness.tasks.arc.load import read_puzzles, select

    if task == "arc":
        puzzles = select(read_puzzles(data), "all")
    else:
        made: Any = build(Plugins(), "task", {"use": task, **({"data": data} if data else {})}, "task").instance
        if not isinstance(made, GridTask):
            raise UsageError(f"task {task!r} has no grids to show; try --task arc --data FOLDER")
        puzzles = tuple(one for split in ("train", "validation", "test") for one in made.puzzles(split))
    by_id = {one.id: one for one in puzzles}
    if name not in by_id:
        raise UsageError(f"task {task} has no puzzle {name!r}.{nearest(name, by_id)}")
    return by_id[name]


def attempts(run: Path, puzzle: Puzzle) -> Iterator[dict[str, Any]]:
    """The lines of a run's ``scores`` that are about the puzzle.

    Raises:
        UsageError: there are none.
    """
    from harness.errors import UsageError

    lines = [
        json.loads(line)
        for path in sorted((run / "scores").glob("*.jsonl"))
        for line in path.read_text("utf-8").splitlines()
    ]
    mine = [line for line in lines if line["episode"] == puzzle.id]
    if not mine:
        raise UsageError(f"{run}: no scores of {puzzle.id} there; the run has {len(lines)} of other puzzles")
    yield from mine


def print_puzzle(console: Console, puzzle: Puzzle, answered: list[dict[str, Any]]) -> None:
    from harness.tasks.arc.draw import print_grids
    from harness.tasks.arc.grid import Grid, grid_of

    for at, pair in enumerate(puzzle.demos):
        print_grids(console, f"{puzzle.id}  demonstration {at + 1}", [("input", pair.input), ("output", pair.output)])
    for at, (test, solution) in enumerate(zip(puzzle.tests, puzzle.solutions, strict=True)):
        print_grids(console, f"{puzzle.subtask(at)}  test", [("input", test), ("solution", solution)])
        for line in answered:
            if line["query"] != puzzle.subtask(at):
                continue
            made: list[tuple[str, Grid | None]] = [
                (f"attempt {number}", grid_of(json.loads(text))) for number, text in enumerate(line["answers"], 1)
            ]
            said = line.get("reason") or ("right" if line.get("right") else "wrong")
            title = f"{line['method']}, seed {line['seed']}, edit {line['sample'] + 1}: {said}"
            print_grids(console, title, [*made, ("solution", solution)] if made else [("attempt", None)])
