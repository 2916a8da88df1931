"""``harness show TASK_ID``: a puzzle's grids, and a run's answers to it, in the terminal or as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from harness.tasks.arc import Puzzle


def command(
    puzzle: Annotated[
        str, typer.Argument(metavar="[TASK_ID]", help="Id of the puzzle, such as 59341089; without it, all of --run.")
    ] = "",
    data: Annotated[
        str, typer.Option(help="Folder or file of ARC tasks; by default the run's, or embedded ones.")
    ] = "",
    task: Annotated[str, typer.Option(help="Task whose puzzles are shown; by default arc with --data.")] = "",
    run: Annotated[Path | None, typer.Option(help="A run's folder, to show its attempts beside the solution.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page instead of drawing in the terminal.")] = None,
) -> None:
    """Draw a puzzle's demonstrations, test inputs and solutions.

    Example:  harness show 59341089 --data ../ARC-AGI/data
    """
    from rich.console import Console

    from harness.errors import UsageError

    if not puzzle and run is None:
        raise UsageError("name a puzzle, or a run with --run")
    table: dict[str, Any] = {"use": task or ("arc" if data else embedded()), **({"data": data} if data else {})}
    if run is not None and not (data or task):
        table = task_of(run)
    lines = [] if run is None else score_lines(run)
    named = [puzzle] if puzzle else list(dict.fromkeys(line["episode"] for line in lines))
    puzzles = find(named, table)
    answered = [[line for line in lines if line["episode"] == one.id] for one in puzzles]
    if run is not None and not any(answered):
        raise UsageError(f"{run}: no scores of {puzzle or 'any puzzle'} there")
    if html is not None:
        from harness.files import write_text
        from harness.tasks.arc.page import page

        title = str(run) if run is not None else puzzle
        write_text(html, page(title, zip(puzzles, answered, strict=True)))
        print(html)
        return
    for one, mine in zip(puzzles, answered, strict=True):
        print_puzzle(Console(), one, mine)


def embedded() -> str:
    """The name of the first installed grid-puzzle task that needs no data folder.

    Raises:
        UsageError: there is none.
    """
    from harness.errors import UsageError
    from harness.registry.discover import Plugins
    from harness.tasks.arc import Arc, GridTask

    plugins = Plugins()
    for name in plugins.names("task"):
        made = plugins.component("task", name).cls
        if isinstance(made, type) and issubclass(made, GridTask) and not issubclass(made, Arc):
            return name
    raise UsageError("harness show: no installed task brings grid puzzles; name a folder with --data")


def find(names: Sequence[str], table: Mapping[str, Any]) -> list[Puzzle]:
    """The puzzles with these ids, from any split or collection of the task that a configuration table describes.

    Raises:
        UsageError: a puzzle is missing, or the task does not have grid puzzles.
    """
    from harness.api import Task
    from harness.errors import UsageError, nearest
    from harness.registry.build import build
    from harness.registry.discover import Plugins
    from harness.tasks.arc import GridTask
    from harness.tasks.arc.load import read_puzzles, select

    if table["use"] == "arc":
        puzzles = select(read_puzzles(table.get("data", "")), "all")
    else:
        made = build(Plugins(), Task, table, "task").instance
        if not isinstance(made, GridTask):
            raise UsageError(f"task {table['use']!r} has no grids to show; try --task arc --data FOLDER")
        puzzles = tuple(one for split in ("train", "validation", "test") for one in made.puzzles(split))
    by_id = {one.id: one for one in puzzles}
    for name in names:
        if name not in by_id:
            raise UsageError(f"task {table['use']} has no puzzle {name!r}.{nearest(name, by_id)}")
    return [by_id[name] for name in names]


def task_of(run: Path) -> dict[str, Any]:
    """The configuration table of a run's task.

    Raises:
        UsageError: there is no run in the folder.
    """
    from harness.runs import record

    return dict(record.read(run)["resolved"]["task"])


def score_lines(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's ``scores``.

    Raises:
        UsageError: a line is damaged; the message names file, line and field.
    """
    from harness.reading import conform, read_json_lines

    found = []
    for path in sorted((run / "scores").glob("*.jsonl")):
        for number, line in read_json_lines(path):
            conform(_line_of_scores(), line, f"{path}: line {number}")
            found.append(line)
    return found


def _line_of_scores() -> Any:
    """A model of the fields that are shown."""
    from pydantic import ConfigDict, create_model

    fields: dict[str, Any] = dict.fromkeys(("method", "episode", "query"), (str, ...))
    fields |= {"seed": (int, ...), "sample": (int, ...), "answers": (list[str], ...), "reason": (str | None, None)}
    return create_model("Line", __config__=ConfigDict(strict=True), **fields)


def print_puzzle(console: Console, puzzle: Puzzle, answered: Sequence[Mapping[str, Any]]) -> None:
    from harness.tasks.arc.draw import print_grids
    from harness.tasks.arc.grid import Grid, grid_from_json

    for at, pair in enumerate(puzzle.demos):
        print_grids(console, f"{puzzle.id}  demonstration {at + 1}", [("input", pair.input), ("output", pair.output)])
    for at, (test, solution) in enumerate(zip(puzzle.tests, puzzle.solutions, strict=True)):
        print_grids(console, f"{puzzle.subtask(at)}  test", [("input", test), ("solution", solution)])
        for line in answered:
            if line["query"] != puzzle.subtask(at):
                continue
            made: list[tuple[str, Grid | None]] = [
                (f"attempt {number}", grid_from_json(text)) for number, text in enumerate(line["answers"], 1)
            ]
            outcome = line.get("reason") or ("right" if line.get("right") else "wrong")
            title = f"{line['method']}, seed {line['seed']}, edit {line['sample'] + 1}: {outcome}"
            print_grids(console, title, [*made, ("solution", solution)] if made else [("attempt", None)])
