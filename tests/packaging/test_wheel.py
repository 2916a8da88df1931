"""The built wheel: what it contains and what it does not, and that its entry points can be imported from it."""

from __future__ import annotations

import configparser
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def names(harness_wheel: Path) -> set[str]:
    with zipfile.ZipFile(harness_wheel) as wheel:
        return set(wheel.namelist())


def test_only_packages_of_ours_are_on_the_top_level(names: set[str]) -> None:
    tops = {name.split("/")[0] for name in names}
    packages = {Path(package).name for package in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]}
    assert tops - packages == {top for top in tops if top.endswith(".dist-info")}
    assert packages <= tops
    assert not {"plugins", "tests", "docs"} & tops


def test_everything_that_the_sources_hold_is_in_it(names: set[str]) -> None:
    for package in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]:
        folder = ROOT / package
        for file in folder.rglob("*"):
            inside = file.relative_to(folder.parent).as_posix()
            if file.is_file() and "__pycache__" not in inside and not file.name.startswith("."):
                assert inside in names, f"{inside} is not in the wheel"


def test_no_caches_runs_or_secrets_are_in_it(names: set[str], harness_wheel: Path) -> None:
    for name in names:
        assert "__pycache__" not in name
        assert not name.endswith((".pyc", ".sqlite", ".log", ".env"))
    assert harness_wheel.stat().st_size < 60 * 2**20


def test_what_it_registers_is_in_it(names: set[str], harness_wheel: Path) -> None:
    with zipfile.ZipFile(harness_wheel) as wheel:
        [file] = [name for name in names if name.endswith("entry_points.txt")]
        points = configparser.ConfigParser(delimiters="=")
        points.read_string(wheel.read(file).decode())
        [metadata] = [name for name in names if name.endswith(".dist-info/METADATA")]
        about = wheel.read(metadata).decode()
    for section in points.sections():
        for name, target in points[section].items():
            path = target.split(":")[0].replace(".", "/")
            assert {f"{path}.py", f"{path}/__init__.py"} & names, f"{section}: {name} = {target}"
    assert "pytest11" in points
    assert "Name: selfadapt-harness" in about
    assert f"License-Expression: {PROJECT['project']['license']}" in about
