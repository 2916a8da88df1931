"""The documentation of plugins is generated, current and complete, and every example in it runs."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import harness
from harness import api
from harness.registry.discover import Plugins
from harness.registry.plugin import KINDS
from harness.testing import UpdaterContract
from harness.testing.check import check, run_contract

DOCS = Path(__file__).parents[2] / "docs"
WORLD = Path(__file__).parents[1] / "runner" / "animals.py"


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generator = _load(DOCS / "build_plugins.py")
HOOKS: Mapping[str, Any] = generator.hooks()
COMPONENTS: Mapping[str, dict[str, Any]] = {
    "harness_tasks": {"method": "bare", "task": "two-towns", "model": "parrot"},
    "harness_models": {"method": "bare", "model": "parrot", "task": "animals"},
    "harness_editors": {"editor": "passage-twice"},
    "harness_rewards": {"reward": "brevity"},
    "harness_updaters": {"updater": "quick-lora"},
    "harness_evaluators": {"evaluator": "first-word"},
    "harness_trainers": {"trainer": "one-round"},
    "harness_protocols": {"protocol": "before-and-after"},
    "harness_methods": {"method": "bare-passage", "task": "animals"},
}
"""Hook -> what brings its example into a run of the scripted world."""


def example(hook: str) -> Path:
    return DOCS / "examples" / f"{generator.EXAMPLES[hook]}.py"


def run(folder: Path, hook: str, **more: Any) -> harness.Run:
    config = {"method": "animals", "model": "animals", "beside": [], "limit": 2, "validation": 0, "leaderboard": "",
              "out": str(folder), **more}  # fmt: skip
    return harness.run(config, plugin_files=list(dict.fromkeys([WORLD, example(hook), example("harness_models")])))


def test_the_page_is_current() -> None:
    text = (DOCS / "plugins.md").read_text("utf-8")
    assert text == generator.build(), "docs/plugins.md is not current: run `python docs/build_plugins.py`"


def test_every_hook_is_documented_and_has_an_example_that_implements_it() -> None:
    page = (DOCS / "plugins.md").read_text("utf-8")
    assert set(generator.EXAMPLES) == set(HOOKS)
    for hook, spec in HOOKS.items():
        assert spec.__doc__, hook
        assert "Called " in spec.__doc__, f"{hook}: does not say when it is called"
        assert f"### `{hook}`\n" in page
        file = example(hook)
        assert f"def {hook}(" in file.read_text("utf-8")
        assert file.read_text("utf-8") in page
        name = file.stem.replace("_", "-")
        assert hook in Plugins((file,)).load(name).hooks()


def test_every_protocol_of_the_contract_is_on_the_page() -> None:
    page = (DOCS / "plugins.md").read_text("utf-8")
    kinds = (
        "Component",
        "Task",
        "Model",
        "Editor",
        "RewardFunction",
        "Updater",
        "Evaluator",
        "Trainer",
        "EvaluationProtocol",
    )
    for protocol in (*kinds, "Session", "LM", "Bench", "WeightSource"):
        for name in {**vars(getattr(api, protocol)), **getattr(api, protocol).__annotations__}:
            if not name.startswith("_"):
                assert re.search(rf"\b(def {name}\(|{name}: )", page), f"{protocol}.{name}"


def test_links_lead_somewhere() -> None:
    for page in (DOCS / "plugins.md", DOCS / "torch.md", DOCS / "changelog.md"):
        for target in re.findall(r"\]\(([\w./-]+\.md)\)", page.read_text("utf-8")):
            assert (page.parent / target).is_file(), f"{page.name} links to {target}"


@pytest.mark.parametrize("hook", sorted(set(KINDS.values()) - {"harness_methods"}))
def test_the_examples_of_components_keep_every_rule(hook: str) -> None:
    bad = [outcome for outcome in check(str(example(hook)), run=False) if outcome.status == "failed"]
    assert not bad, bad


@pytest.mark.parametrize("hook", COMPONENTS)
def test_the_examples_of_components_run(tmp_path: Path, hook: str) -> None:
    done = run(tmp_path, hook, **COMPONENTS[hook])
    assert done.complete
    assert "error" not in {line["status"] for line in done.scores()}


def test_the_example_of_the_observers_runs(tmp_path: Path) -> None:
    done = run(tmp_path, "harness_run_started", observers=["diary"])
    assert (done.folder / "diary.txt").read_text("utf-8").splitlines() == [
        "began with animals",
        "animals, seed 0: round 0, validation None",
        "animals, seed 0: round 1, validation None",
        "ended with 1 rows",
    ]


@pytest.mark.parametrize("name", ["Focal", "OneStep"])
def test_the_way_down_to_torch(name: str) -> None:
    """Both updaters of ``docs/torch.md``, on the embedded model, under every rule."""
    module = Plugins((DOCS / "examples" / "down_to_torch.py",)).load("down-to-torch").module
    contract = type(name, (UpdaterContract,), {"component": getattr(module, name), "on": "embedded"})
    outcomes = list(run_contract(contract))
    if any(outcome.status == "skipped" for outcome in outcomes):
        pytest.skip("the lab model is not in this installation")
    assert not [outcome for outcome in outcomes if outcome.status == "failed"]


def test_each_step_down_to_torch_is_in_the_example() -> None:
    text = (DOCS / "examples" / "down_to_torch.py").read_text("utf-8")
    for step in ("s.fit(", "loss=", "s.borrow(", "s.store(", "s.expand("):
        assert step in text
        assert step in (DOCS / "torch.md").read_text("utf-8")
