"""The documentation as readers meet it: every link leads somewhere, and every command that it shows is one."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from harness import cli
from harness.registry.discover import Plugins
from harness.runs.config import resolve
from harness.runs.full_settings import full_settings
from harness.runs.tables import parse_set

ROOT = Path(__file__).parents[2]
PATTERNS = ("README.md", "docs/**/*.md", "plugins/*/README.md", "leaderboards/*.md", "benchmarks/*.md")
PAGES = sorted({path for pattern in PATTERNS for path in ROOT.glob(pattern)})
LATER = re.compile(r"\.\.\.|<|\bmy[-_]|\b(NAME|MODEL|KEY|KIND|PRESET|TASK)\b")
"""What stands for something that the reader fills in, where a name is meant."""


def commands(page: Path) -> Iterator[tuple[str, bool]]:
    """(command, whether it only speaks of it) of every command in a block, or in running text."""
    text = page.read_text("utf-8").replace("\\\n", " ")
    blocks = re.findall(r"(?ms)^ *```\w*\n(.*?)^ *```", text)
    inline = re.findall(r"(?<!`)`((?:harness) [^`\n]+)`(?!`)", re.sub(r"(?ms)^ *```.*?^ *```", "", text))
    lines = [(line, False) for block in blocks for line in block.split("\n")] + [(line, True) for line in inline]
    for line, spoken in lines:
        for part in re.split(r"&&|(?<!\w)\|", line.strip().removeprefix("$ ")):
            if part.strip().startswith("harness "):
                yield re.sub(r"\s#.*$", "", part).strip(), spoken


@cache
def verb_of(verb: str) -> Any:
    return typer.main.get_command(cli.build_app(verb)).commands[verb]  # type: ignore[attr-defined]


def parsed(words: list[str]) -> Any:
    """The context in which the command would be called; raises where its words are not ones that it takes."""
    verb, *rest = words
    found = verb_of(verb)
    while getattr(found, "commands", None) and rest and not rest[0].startswith("-"):
        name, *rest = rest
        found = found.commands[name]
    return found.make_context(verb, rest)


def fault(line: str, spoken: bool = False) -> str:
    """Why a command of the documentation could not be run; "" where it could.

    One that is only spoken of (`harness plugins check` tests a plugin) may lack its arguments.
    """
    words = [re.sub(r"^[A-Z]+$", "1", word) for word in shlex.split(line)[1:] if not word.startswith("[")]
    if not words or words[0].startswith("-") or words[0] == "1":
        return ""
    if "..." in words:
        return "" if words[0] in cli._VERBS else "no such verb"
    try:
        given = parsed(words).params
    except Exception as error:
        if spoken and type(error).__name__ in ("MissingParameter", "BadOptionUsage", "NoArgsIsHelpError"):
            return ""
        return str(error.format_message()) if hasattr(error, "format_message") else repr(error)
    return _names(given, line) if words[0] == "run" else ""


def _names(given: dict[str, Any], line: str) -> str:
    """Why what a run names does not exist."""
    if LATER.search(line) or given["plugin"].endswith(".py") or given["config"]:
        return ""
    task = given["task"] or ("squad" if given["data"] else "")
    asked: dict[str, Any] = {"method": given["plugin"], "preset": given["preset"], "all": given["all_methods"]}
    asked |= {"model": {"use": given["model"]}} if given["model"] else {}
    asked |= {"protocol": {"use": given["protocol"]}} if given["protocol"] else {}
    asked |= {"task": {"use": task}} if task and not task.endswith(".toml") else {}
    asked = {key: value for key, value in asked.items() if value}
    sets = parse_set([one for one in given["assign"] or () if not LATER.search(one)])
    if given["also"]:
        sets.pop("also", None)  # settings of a table that --also makes
    for key, value in sets.items():
        both = isinstance(value, dict) and isinstance(asked.get(key), dict)
        asked[key] = {**asked[key], **value} if both else value
    plugins = Plugins()
    try:
        full_settings(resolve(asked, plugins), plugins)
    except Exception as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.stem != "changelog"], ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_every_command_that_a_page_shows_can_be_run(page: Path) -> None:
    bad = {line: why for line, spoken in commands(page) if (why := fault(line, spoken))}
    assert not bad


def test_a_command_that_cannot_be_run_is_found() -> None:
    wrong = {
        "harness runn --plugin seal": "no",
        "harness run --plugin sael": "seal",
        "harness run --plugin seal --preset papre": "paper",
        "harness run --plugin seal --sets updater.rank=4": "--sets",
        "harness run --plugin seal --set updater.rnak=4": "rank",
        "harness compare A": "Missing argument",
        "harness run --plugin seal --set trainer.use=restm": "restem",
    }
    for line, said in wrong.items():
        assert said in fault(line), line
    assert fault("harness plugins check")
    assert not fault("harness plugins check", spoken=True)
    assert not fault("harness run --plugin NAME")


def test_the_site_builds_with_every_link_leading_somewhere(tmp_path: Path) -> None:
    """mkdocs is strict here: a link or an anchor that leads nowhere, and a page that is nowhere listed, are errors."""
    pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install -e '.[docs]'")
    pytest.importorskip("material", reason="mkdocs-material is not installed: pip install -e '.[docs]'")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, ""), done.stderr[-3000:]
    built = {path.relative_to(tmp_path / "site").with_suffix("").as_posix() for path in tmp_path.rglob("*.html")}
    wanted = {page.relative_to(ROOT).with_suffix("").as_posix() for page in PAGES}
    assert {re.sub(r"(^|/)README$", r"\1index", name) for name in wanted} <= built
    for page in (tmp_path / "site").rglob("*.html"):
        text = page.read_text("utf-8")
        loads = re.findall(r'<(?:script|img|iframe)[^>]*src="?(https?:[^" >]+)', text)
        loads += re.findall(r'<link[^>]*rel="?(?:stylesheet|preconnect)"?[^>]*href="?(https?:[^" >]+)', text)
        assert not loads, f"{page.name} loads {loads[0]} from elsewhere"
