"""The ARC methods as a run resolves them, and the paper's preset on an instruct model."""

from __future__ import annotations

from pathlib import Path

import pytest

import harness
from harness.registry.build import resolve
from harness.registry.discover import Plugins
from harness.runs import config as configuration
from harness.runs.config import Config
from tests.models import tiny
from tests.shared_data import shared

METHODS = ("seal-arc", "arc-icl", "arc-ttt-no-rl", "arc-oracle-ttt")


def configured(method: str, preset: str) -> Config:
    return configuration.resolve({"method": method, "preset": preset, "model": "hf:some/model"}, Plugins())


@pytest.mark.parametrize(
    ("method", "preset"), [*((name, "lab") for name in METHODS), ("seal-arc", "paper-llama3.2-1b")]
)
def test_every_preset_resolves_strictly_for_every_row(method: str, preset: str) -> None:
    resolved = configured(method, preset)
    for arm in resolved.arms:
        for name, table in arm.slots.items():
            resolve(Plugins(), str(table["kind"]), {key: value for key, value in table.items() if key != "kind"}, name)
    resolve(Plugins(), "task", resolved.task, "task")


@pytest.mark.parametrize("preset", ["lab", "paper-llama3.2-1b"])
def test_rows_differ_in_what_they_are_about_and_in_nothing_else(preset: str) -> None:
    arms = {arm.method.name: arm for arm in configured("seal-arc", preset).arms}
    assert tuple(arms) == METHODS
    for name in METHODS[1:]:
        assert arms[name].slots["evaluator"] == arms["seal-arc"].slots["evaluator"]
    for name in METHODS[2:]:
        assert arms[name].slots["updater"] == arms["seal-arc"].slots["updater"]
    assert arms["arc-ttt-no-rl"].slots["editor"] == arms["seal-arc"].slots["editor"]


def test_the_controls_have_the_same_lab_settings_alone_as_beside_seal_arc() -> None:
    beside = {arm.method.name: arm for arm in configured("seal-arc", "lab").arms}
    for name in METHODS[1:]:
        alone = configured(name, "lab")
        assert (alone.task, alone.options.limit) == (configured("seal-arc", "lab").task, 8)
        assert alone.arms[0].slots == beside[name].slots


def test_the_papers_preset_runs_on_any_instruct_model(tmp_path: Path) -> None:
    """A tiny random model: nothing is solved, but everything is asked, trained and accounted for."""
    model = tiny.write(tmp_path / "model", positions=8192, end="<|im_end|>", template=tiny.CHAT)
    config = {
        "method": "seal-arc",
        "preset": "paper-llama3.2-1b",
        "model": str(model),
        "limit": 1,
        "samples": 1,
        "task": {"data": str(shared("arc")), "train": "67e8384a", "test": "66e6c45b", "max_examples": 4},
        "trainer": {"contexts": 1, "samples": 2},
        "editor": {"max_draws": 2, "max_tokens": 16},
        "updater": {"rank": 4},
        "evaluator": {"permutations": 0, "augmentations": ["flip0"], "max_tokens": 8},
        "out": str(tmp_path / "runs"),
        "leaderboard": "",
    }
    done = harness.run(config)
    assert done.complete
    said = {line["method"]: (line["value"], line["status"], line["reason"].partition(":")[0]) for line in done.scores()}
    assert said == {
        "seal-arc": (0.0, "failed", "not JSON"),
        "arc-ttt-no-rl": (0.0, "failed", "not JSON"),
        "arc-icl": (0.0, "failed", "unparsed"),
        "arc-oracle-ttt": (0.0, "failed", "unparsed"),
    }
