"""The walls of ``docs/architecture.md``: a room imports only rooms below it, and the core knows no plugin."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

CORE = Path(__file__).parents[2] / "harness"

ROOMS = (
    "api errors events markers files metrics hookspecs reads reading text escape trainers votes",
    "stats engine",
    "registry",
    "books",
    "models tasks workers",
    "judges updaters",
    "evaluators session",
    "evidence",
    "runs",
    "testing",
    "cli",
)
"""From the ground up. Rooms on one floor do not import each other, save on the ground."""
GROUND = frozenset(ROOMS[0].split())
FLOOR = {room: floor for floor, names in enumerate(ROOMS) for room in names.split()}


def room_of(path: Path) -> str:
    return path.relative_to(CORE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """(line, module) of every harness module that a file imports, also inside functions and for types only."""
    package = ["harness", *path.relative_to(CORE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            names = [f"{module}.{alias.name}" for alias in node.names] if module == "harness" else [module]
        else:
            continue
        yield from ((node.lineno, name) for name in names if name.partition(".")[0].startswith("harness"))


FILES = sorted(path for path in CORE.rglob("*.py") if path.parent != CORE or path.stem not in {"__init__", "__main__"})


def test_every_room_stands_on_a_floor() -> None:
    assert {room_of(path) for path in FILES} == set(FLOOR)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(CORE).as_posix())
def test_a_room_imports_only_rooms_below_it(path: Path) -> None:
    mine = room_of(path)
    for line, module in imports_of(path):
        assert module.startswith("harness."), f"{path}:{line} imports the plugin package {module}"
        other = module.split(".")[1]
        if other in {mine, "__version__", "hookimpl"} or {mine, other} <= GROUND:
            continue
        assert other in FLOOR, f"{path}:{line} imports {module}, which is no room of the core"
        assert FLOOR[other] < FLOOR[mine], f"{path}:{line}: {mine} imports {module}, which is not below it"


def test_the_engine_stands_alone() -> None:
    for path in (CORE / "engine").glob("*.py"):
        assert not [module for _, module in imports_of(path) if not module.startswith("harness.engine")], path


def test_the_core_names_no_plugin() -> None:
    """Names of packages, methods and models from plugins are not in the core's code, except in texts."""
    packages = {entry.value.split(":")[0] for entry in metadata.entry_points(group="harness.plugins")}
    foreign = {name for name in packages if name.startswith("harness_")}
    names = {"seal-no-rl", "restem", "lab", "lab-facts", "lab-grids", "icl", "replay"}
    for path in FILES:
        for node in ast.walk(_without_docstrings(ast.parse(path.read_text("utf-8")))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert node.value not in names, f"{path}:{node.lineno} names {node.value!r}"
                assert not any(name in node.value for name in foreign), f"{path}:{node.lineno}: {node.value!r}"


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [  # type: ignore[attr-defined]
                one for one in body if not (isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))
            ] or [ast.Pass()]
    return tree
