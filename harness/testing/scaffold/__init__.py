"""``harness plugins new``: an installable package around one component that works at once."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

from harness import __version__
from harness.errors import UsageError, nearest

KINDS = ("editor", "reward", "updater", "evaluator", "trainer", "protocol", "task", "model", "method")
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def write(name: str, kind: str, parent: Path) -> list[Path]:
    """Write the package ``harness-NAME`` into ``parent/harness-NAME`` and return its files.

    Raises:
        UsageError: an invalid name, an unknown kind, or a folder that exists already.
    """
    if kind not in KINDS:
        raise UsageError(f"--kind {kind!r}: there is no such kind.{nearest(kind, KINDS)}")
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is not a plugin name: use lower-case letters and digits, in words joined by '-', as in my-editor"
        )
    module = f"harness_{name.replace('-', '_')}"
    folder = parent / f"harness-{name}"
    if folder.exists():
        raise UsageError(f"{folder} is there already; take another name, or another folder with --into")
    source = files("harness.testing.scaffold").joinpath("templates")
    targets = {
        f"{kind}.py.txt": folder / module / "__init__.py",
        f"test_{kind}.py.txt": folder / "tests" / f"test_{name.replace('-', '_')}.py",
        "pyproject.toml.txt": folder / "pyproject.toml",
        "README.md.txt": folder / "README.md",
    }
    values = {"NAME": name, "MODULE": module, "CLASS": _class(name), "KIND": kind, "MAJOR_MINOR": _series()}
    for template, target in targets.items():
        text = source.joinpath(template).read_text("utf-8")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(re.sub(r"@(\w+)@", lambda found: values[found[1]], text), "utf-8")
    return list(targets.values())


def _class(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("-"))


def _series() -> str:
    return ".".join(__version__.split(".")[:2])
