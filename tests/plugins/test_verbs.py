"""Verbs and defaults come from plugins, through hooks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.registry.discover import Plugins
from harness.runs.config import resolve
from tests.plugins.made_up import install

VERB = '''
from harness import hookimpl
from harness.api import Command

@hookimpl
def harness_commands():
    return {"greet": Command("greeter:greet", "say hello"), "run": Command("greeter:greet", "not the core's")}

def greet(name: str = "you") -> None:
    """Say hello."""
    print(f"hello {name}")
'''


def harness(words: list[str], place: Path) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.path.insert(0, {str(place)!r}); from harness.cli import main; main({words!r})"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    install(tmp_path, "greeter", VERB, target="greeter")
    return tmp_path


def test_a_plugin_adds_a_verb(place: Path) -> None:
    assert harness(["greet", "--name", "reader"], place).stdout == "hello reader\n"
    assert "say hello" in harness(["--help"], place).stdout
    assert "Example:  harness greet" not in harness(["greet", "--help"], place).stderr


def test_a_verb_of_the_core_is_not_taken_over(place: Path) -> None:
    assert "not the core's" not in harness(["--help"], place).stdout
    assert "hello" not in harness(["run", "--help"], place).stdout


def test_the_nearest_verb_is_named(place: Path) -> None:
    done = harness(["grete"], place)
    assert done.returncode == 2
    assert done.stderr.startswith("harness: no verb is called 'grete'. Did you mean 'greet'")


def test_a_verb_that_cannot_be_imported_is_one_line(tmp_path: Path) -> None:
    install(tmp_path, "greeter", VERB.replace("greeter:greet", "greeter:gone"), target="greeter")
    done = harness(["greet"], tmp_path)
    assert done.returncode == 3
    assert "verb 'greet' = 'greeter:gone'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_defaults_come_from_plugins() -> None:
    config = resolve({"limit": 1}, Plugins())
    assert (config.options.method, config.model["use"]) == ("seal", "lab")
    with pytest.raises(UsageError, match="no installed plugin defines a default sauce"):
        Plugins().default("sauce")  # type: ignore[arg-type]


def test_an_installed_plugin_does_not_change_what_a_bare_command_means(tmp_path: Path) -> None:
    hijack = "from harness import hookimpl\n@hookimpl\ndef harness_defaults():\n    return {'method': 'icl'}\n"
    install(tmp_path, "aaa", hijack)
    code = "plugins = Plugins(); print(plugins.default('method'), 'aaa' in [one.name for one in plugins])"
    start = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from harness.registry.discover import Plugins; {code}"
    done = subprocess.run([sys.executable, "-c", start], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["seal", "True"]


def test_a_judge_reaches_the_evaluator_inside_another_one() -> None:
    given = {"method": "rag", "judge": "f1"}
    [arm, *beside] = resolve(given, Plugins()).arms
    assert arm.slots["evaluator"]["inner"]["judge"] == "f1"
    assert all(other.slots["evaluator"]["judge"] == "f1" for other in beside if "inner" not in other.slots["evaluator"])


def test_a_judge_for_an_evaluator_without_one_is_refused() -> None:
    with pytest.raises(UsageError, match="evaluator 'grids' of method 'seal-arc' grades without a judge"):
        resolve({"method": "seal-arc", "task": "lab-grids", "judge": "f1"}, Plugins())


def test_a_plugin_with_a_method_and_a_task_runs_its_task(tmp_path: Path) -> None:
    docs = Path(__file__).parents[2] / "docs" / "examples"
    source = (docs / "two_towns.py").read_text("utf-8").replace("two_towns:", "towns:") + METHOD
    (tmp_path / "towns.py").write_text(source, "utf-8")
    assert resolve({"method": "towns"}, Plugins((tmp_path / "towns.py",))).task == {"use": "two-towns"}
    assert (
        resolve({"method": "towns", "task": "lab-facts"}, Plugins((tmp_path / "towns.py",))).task["use"] == "lab-facts"
    )


METHOD = """

@hookimpl
def harness_methods():
    from harness.api import Method

    parts = {"evaluator": {"use": "closed-book"}, "trainer": {"use": "none"}}
    return {"towns": Method("towns", "", "asks about towns", parts)}
"""
