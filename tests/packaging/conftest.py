"""Wheels of the harness and of the external plugin, built once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def build_wheel(project: Path, into: Path) -> Path:
    """Build with what is installed: no network, no isolation."""
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(into), str(project)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    [wheel] = into.glob("*.whl")
    return wheel


@pytest.fixture(scope="session")
def harness_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(ROOT, tmp_path_factory.mktemp("harness-wheel"))


@pytest.fixture(scope="session")
def notes_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(ROOT / "tests" / "external_plugin", tmp_path_factory.mktemp("notes-wheel"))
