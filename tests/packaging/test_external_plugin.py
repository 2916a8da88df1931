"""A third-party package, built and installed beside the built harness in a clean environment, reaches a leaderboard."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.packaging.conftest import ROOT

pytestmark = pytest.mark.slow


class Environment:
    """A fresh virtual environment in which the two wheels are installed; their dependencies come from this one."""

    def __init__(self, folder: Path, wheels: list[Path]) -> None:
        venv.create(folder, with_pip=True)
        self.bin = folder / "bin"
        self.call("python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", *map(str, wheels))
        [site] = folder.glob("lib/python*/site-packages")
        # A path, not a site folder: packages are found there, and its editable installs are not.
        (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", "utf-8")

    def call(self, *words: str, cwd: Path = ROOT.parent, code: int = 0) -> str:
        environment = {
            name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTEST_ADDOPTS"}
        }
        done = subprocess.run([str(self.bin / words[0]), *words[1:]], cwd=cwd, env=environment, capture_output=True,
                              text=True, check=False)  # fmt: skip
        assert done.returncode == code, f"{' '.join(words)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory, harness_wheel: Path, notes_wheel: Path) -> Environment:
    assert sys.prefix != sys.base_prefix or sysconfig.get_path("purelib")
    return Environment(tmp_path_factory.mktemp("clean") / "venv", [harness_wheel, notes_wheel])


def test_it_is_listed_with_its_distribution_and_licence(clean: Environment, tmp_path: Path) -> None:
    where = clean.call("python", "-c", "import harness; print(harness.__file__)", cwd=tmp_path)
    assert str(clean.bin.parent) in where, "the wheel's harness, not the checkout's"
    listed = clean.call("harness", "list", "plugins", "--verbose", cwd=tmp_path)
    assert "notes  harness-notes 0.3.1  harness_notes  API 2  MIT" in listed
    assert "editors     notes" in listed
    assert "notes' (harness-notes 0.3.1, harness_notes) is found" in clean.call(
        "harness", "plugins", "why", "notes", cwd=tmp_path
    )


def test_it_passes_its_check_and_its_own_tests(clean: Environment, tmp_path: Path) -> None:
    said = clean.call("harness", "plugins", "check", "notes", cwd=tmp_path)
    assert " 0 failed" in said
    tests = ROOT / "tests" / "external_plugin" / "tests"
    said = clean.call(
        "python", "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(tests), str(tests), cwd=tmp_path
    )
    assert "passed" in said


def test_it_reaches_a_leaderboard(clean: Environment, tmp_path: Path) -> None:
    small = ["--limit", "2", "--set", "trainer.contexts=2", "--set", "trainer.samples=2", "--set", "trainer.rounds=1"]
    clean.call(
        "harness", "run", "--plugin", "notes", *small, "--set", "validation=0", "--set", "beside=['none']", cwd=tmp_path
    )
    [file] = (tmp_path / "leaderboards" / "lab-facts").glob("*.json")
    rows = json.loads(file.read_text("utf-8"))["tables"][0]["rows"]
    assert [row["method"] for row in rows] == ["notes", "none"]
    shown = clean.call("harness", "leaderboard", "show", cwd=tmp_path)
    assert "notes" in shown


def test_a_new_plugin_can_be_installed_and_run_at_once(clean: Environment, tmp_path: Path) -> None:
    clean.call("harness", "plugins", "new", "fresh-idea", "--kind", "editor", cwd=tmp_path)
    install = ["-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", "-e"]
    clean.call("python", *install, "./harness-fresh-idea", cwd=tmp_path)
    assert "is found and can be used" in clean.call("harness", "plugins", "why", "fresh-idea", cwd=tmp_path)
    small = ["--limit", "2", "--set", "validation=0", "--set", "beside=[]", "--set", "leaderboard=''"]
    assert "fresh-idea" in clean.call("harness", "run", "--plugin", "fresh-idea", *small, cwd=tmp_path)
