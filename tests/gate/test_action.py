"""The GitHub action's shell step, run by hand: outputs, summary, and the gate's exit code."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.evidence.result_file import write
from tests.leaderboard.examples import items, result_file, row

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed: action.yml cannot be read")
pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this machine")

ACTION = Path(__file__).parents[2] / "action.yml"


def _step() -> dict[str, Any]:
    (step,) = yaml.safe_load(ACTION.read_text(encoding="utf-8"))["runs"]["steps"]
    return dict(step)


def _run(folder: Path, chance: float, **given: str) -> subprocess.CompletedProcess[str]:
    task = items(contexts=40)
    write(result_file([row("m", 0.5, task=task)], task=task), folder / "base.json")
    write(result_file([row("m", chance, task=task)], task=task), folder / "head.json")
    values = {"BASELINE": "base.json", "RUN": "head.json", "MARGIN": "0.02", "CONFIRM": "0", "STRICT": "false",
              "EXACT": "false", "PYTHON": sys.executable, **given}  # fmt: skip
    assert set(values) == set(_step()["env"])
    files = {"GITHUB_STEP_SUMMARY": str(folder / "summary"), "GITHUB_OUTPUT": str(folder / "output")}
    command = ["bash", "-eo", "pipefail", "-c", _step()["run"]]
    environment = {**os.environ, **values, **files}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_pass(tmp_path: Path) -> None:
    done = _run(tmp_path, 0.5)
    assert done.returncode == 0, done.stderr
    assert "verdict=pass" in (tmp_path / "output").read_text()
    assert "**pass**" in (tmp_path / "summary").read_text()


def test_a_regression_fails_the_job_and_still_reports(tmp_path: Path) -> None:
    done = _run(tmp_path, 0.1)
    assert done.returncode == 1
    lines = dict(line.split("=", 1) for line in (tmp_path / "output").read_text().splitlines())
    assert lines["verdict"] == "regressed"
    assert float(lines["difference"]) < -0.2
    assert (tmp_path / "gate.xml").exists()


def test_no_baseline_is_code_3(tmp_path: Path) -> None:
    assert _run(tmp_path, 0.5, BASELINE="absent.json").returncode == 3


def test_every_input_is_used() -> None:
    inputs = yaml.safe_load(ACTION.read_text(encoding="utf-8"))["inputs"]
    assert {f"${{{{ inputs.{name} }}}}" for name in inputs} == set(_step()["env"].values())
