"""ARC puzzles from files: challenges with their solutions, or one file per task.

Both published layouts are read, of ARC-AGI-1 and of ARC-AGI-2: a pair of files ``*training_challenges.json`` and
``*training_solutions.json`` for each collection, or a folder of ``<id>.json`` files with the solutions inside, in
sub-folders ``training`` and ``evaluation`` or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness.errors import UsageError, nearest
from harness.reading import read_json, user_path
from harness.tasks.arc.grid import BadGrid, Grid, Pair, Puzzle, grid_of

COLLECTIONS = ("training", "evaluation")

SUBSETS: Mapping[str, tuple[str, ...]] = {
    "seal-train": (
        "44f52bb0", "4be741c5", "5582e5ca", "5614dbcf", "5bd6f4ac", "6150a2bd",
        "67e8384a", "6d0aefbc", "6e02f1e3", "8be77c9e", "8d5021e8",
    ),
    "seal-eval": (
        "59341089", "66e6c45b", "68b67ca3", "903d1b4a", "b1fc8b8e", "bc4146bd", "c7d4e6ad", "ce8d95cc",
    ),
}  # fmt: skip
"""The tasks on which SEAL trains its policy and those on which it reports (arXiv 2506.10943, section 4.2)."""

HELP = (
    "Give a folder with training_challenges.json and training_solutions.json (evaluation_... likewise), or with one "
    "file per task, such as the folder `data` of https://github.com/fchollet/ARC-AGI."
)


def read_puzzles(data: str) -> dict[str, tuple[Puzzle, ...]]:
    """Collection -> its puzzles, sorted by id; files that name no collection make one called ``all``.

    ``data`` is a folder, a challenges file, or the file of a single task. The puzzles stay in memory for as long as
    sizes and modification times of the files, and of the solutions beside them, do not change.

    Raises:
        UsageError: there is nothing to read, or a field is invalid; the message names file, task and field.
    """
    if not data:
        raise UsageError(f"task arc: no data. {HELP}")
    root = user_path(data)
    if not root.exists():
        raise UsageError(f"task arc: no such file or folder: {root}. {HELP}")
    files = _files(root)
    if not any(files.values()):
        raise UsageError(f"task arc: no ARC tasks in {root}. {HELP}")
    return _read(tuple((name, tuple(_stamp(path) for path in paths)) for name, paths in files.items() if paths))


def select(collections: Mapping[str, tuple[Puzzle, ...]], subset: str) -> tuple[Puzzle, ...]:
    """The puzzles of a subset: a collection, one of :data:`SUBSETS`, ``all``, or comma-separated ids.

    Raises:
        UsageError: the data have no such subset or id.
    """
    if subset in collections:
        return collections[subset]
    every = {puzzle.id: puzzle for puzzles in collections.values() for puzzle in puzzles}
    if subset == "all":
        return tuple(every.values())
    if subset in COLLECTIONS:
        raise UsageError(f"task arc: the data has no collection {subset!r}.{nearest(subset, collections)}")
    ids = SUBSETS.get(subset) or tuple(part.strip() for part in subset.split(",") if part.strip())
    missing = [one for one in ids if one not in every]
    if missing and subset not in SUBSETS and len(ids) == 1:
        names = [*collections, *SUBSETS, "all", *every]
        raise UsageError(f"task arc: no subset or task {subset!r} in the data.{nearest(subset, names)}")
    if missing:
        raise UsageError(f"task arc: {len(missing)} of {len(ids)} tasks are not in the data: {', '.join(missing[:5])}")
    return tuple(every[one] for one in ids)


def puzzle_of(name: str, value: Any, solutions: Any, where: str) -> Puzzle:
    """A checked puzzle from a task's JSON; ``solutions`` is its list in a solutions file, None if they are inside.

    Raises:
        UsageError: ``where: task <name>: <field> <what is wrong>``.
    """
    where = f"{where}: task {name}"
    if not isinstance(value, dict):
        raise UsageError(f"{where}: is not a JSON object with 'train' and 'test'")
    demos, tests = (_list(value, key, where) for key in ("train", "test"))
    pairs = tuple(
        Pair(*(_grid(demo, key, f"{where}: train[{at}]") for key in ("input", "output")))
        for at, demo in enumerate(demos)
    )
    inputs = tuple(_grid(test, "input", f"{where}: test[{at}]") for at, test in enumerate(tests))
    if solutions is None:
        outputs = tuple(_grid(test, "output", f"{where}: test[{at}]") for at, test in enumerate(tests))
    else:
        if not isinstance(solutions, list) or len(solutions) != len(inputs):
            found = f"{len(solutions)} solutions" if isinstance(solutions, list) else "no list of solutions"
            raise UsageError(f"{where}: {found} for {len(inputs)} test inputs")
        outputs = tuple(_checked(grid, f"{where}: solutions[{at}]") for at, grid in enumerate(solutions))
    return Puzzle(name, pairs, inputs, outputs)


def _list(value: Mapping[str, Any], key: str, where: str) -> list[Any]:
    found = value.get(key)
    if not isinstance(found, list) or not found:
        raise UsageError(f"{where}: {key!r} is {'missing' if found is None else 'not a non-empty list'}")
    return found


def _grid(pair: Any, key: str, where: str) -> Grid:
    if not isinstance(pair, dict) or key not in pair:
        hint = " (the solution; or keep it in a solutions file)" if key == "output" and "test[" in where else ""
        raise UsageError(f"{where}: {key!r} is missing{hint}")
    return _checked(pair[key], f"{where}.{key}")


def _checked(value: Any, where: str) -> Grid:
    try:
        return grid_of(value)
    except BadGrid as why:
        raise UsageError(f"{where} {why}") from None


# --- files ---------------------------------------------------------------------------------------------------------


def _files(root: Path) -> dict[str, list[Path]]:
    """Collection -> its files: one challenges file, or the files of its tasks."""
    if root.is_file():
        return {"all": [root]}
    found: dict[str, list[Path]] = {}
    for name in COLLECTIONS:
        # Kaggle's copies are called arc-agi_training_challenges.json and so on.
        challenges = [path for kind in ("", "arc-agi_") for path in root.glob(f"{kind}{name}_challenges.json")]
        found[name] = challenges[:1] or sorted((root / name).glob("*.json"))
    if not any(found.values()):
        loose = sorted(path for path in root.glob("*.json") if not path.stem.endswith("_solutions"))
        together = [path for path in loose if path.stem.endswith("_challenges")]
        found = {"all": together or loose}
    return found


_Stamp = tuple[Path, tuple[tuple[int, int], ...]]


def _stamp(path: Path) -> _Stamp:
    """A file with modification time and size, its own and its solutions'."""
    stats = [one.stat() for one in (path, _solutions_of(path)) if one.exists()]
    return path, tuple((stat.st_mtime_ns, stat.st_size) for stat in stats)


def _solutions_of(challenges: Path) -> Path:
    """The solutions file of a challenges file; the file itself where it is not named as a challenges file."""
    return challenges.with_name(challenges.name.replace("_challenges", "_solutions"))


@lru_cache(maxsize=4)
def _read(known: tuple[tuple[str, tuple[_Stamp, ...]], ...]) -> dict[str, tuple[Puzzle, ...]]:
    collections: dict[str, tuple[Puzzle, ...]] = {}
    seen: dict[str, Path] = {}
    for name, stamped in known:
        puzzles: list[Puzzle] = []
        for path, _ in stamped:
            for puzzle in _puzzles(path):
                if puzzle.id in seen:
                    raise UsageError(f"{path}: task {puzzle.id}: the id is also in {seen[puzzle.id]}")
                seen[puzzle.id] = path
                puzzles.append(puzzle)
        collections[name] = tuple(sorted(puzzles, key=lambda puzzle: puzzle.id))
    return collections


def _puzzles(path: Path) -> Iterable[Puzzle]:
    value = read_json(path)
    if isinstance(value, dict) and "train" in value:
        return [puzzle_of(path.stem, value, None, str(path))]
    if not isinstance(value, dict):
        raise UsageError(f"{path}: is neither an ARC task nor a collection of them")
    solutions = _solutions_of(path)
    solved: Any = None
    if solutions != path and solutions.exists():
        solved = read_json(solutions)
    elif solutions != path and not _holds_solutions(value):
        raise UsageError(f"{path}: its solutions are missing: no file {solutions.name} beside it")
    if solved is not None and not isinstance(solved, dict):
        raise UsageError(f"{solutions}: is not a JSON object of task id -> solutions")
    made = []
    for name, task in value.items():
        if solved is not None and name not in solved:
            raise UsageError(f"{solutions}: task {name}: its solutions are missing")
        made.append(puzzle_of(name, task, None if solved is None else solved[name], str(path)))
    return made


def _all_of(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _holds_solutions(value: Mapping[str, Any]) -> bool:
    """Whether the tasks of a challenges file hold their own solutions."""
    tests = [test for task in value.values() if isinstance(task, dict) for test in _all_of(task.get("test"))]
    return any(isinstance(test, dict) and "output" in test for test in tests)
