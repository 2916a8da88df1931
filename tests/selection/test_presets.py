"""The papers' settings as presets, quick presets for all, cards, and controls that differ in one setting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from harness_selection import methods
from harness_selection.evolve import EvolInstruct

from harness.registry.discover import Plugins
from harness.runs.config import resolve

ALL = ("icm", "simple", "daar", "evol-instruct")
CONTROLS = {
    "icm-zero-shot": ("icm", {"labels": "zero-shot"}),
    "icm-random": ("icm", {"labels": "random"}),
    "icm-oracle": ("icm", {"labels": "oracle"}),
    "simple-plain": ("simple", {"labels": "plain"}),
    "simple-voted": ("simple", {"labels": "voted"}),
    "simple-oracle": ("simple", {"labels": "oracle"}),
    "daar-random": ("daar", {"select": "random"}),
    "daar-all": ("daar", {"select": "all"}),
    "evol-instruct-seeds": ("evol-instruct", {"evolve": False}),
    "evol-instruct-unchecked": ("evol-instruct", {"check": False}),
}


def resolved(method: str, preset: str, task: str = "lab-maths") -> Mapping[str, Any]:
    """The slots of a method under a preset."""
    return resolve({"method": method, "preset": preset, "model": "lab-maths", "task": task}, Plugins()).arms[0].slots


def test_the_papers_settings() -> None:
    icm = resolved("icm", "paper-llama-3.1-8b-gsm8k")["trainer"]
    assert (icm["alpha"], icm["steps"], icm["seeds"], icm["batch"], icm["demonstrations"]) == (30.0, 3000, 8, 256, 0)
    assert (icm["hottest"], icm["coldest"], icm["start"], icm["rule"]) == (10.0, 0.01, "random", "exclusive")
    simple = resolved("simple", "paper-qnli")
    assert (simple["trainer"]["passes"], simple["trainer"]["neighbours"], simple["trainer"]["drop"]) == (7, 9, 0.2)
    assert (simple["sft"]["use"], simple["sft"]["learning_rate"], simple["sft"]["epochs"]) == ("full", 4e-6, 4)
    daar = resolved("daar", "paper-qwen2.5-7b")
    assert (daar["trainer"]["share"], daar["trainer"]["layers"], daar["trainer"]["clustered"]) == (0.2, 3, 5000)
    assert (daar["trainer"]["rate"], daar["trainer"]["epochs"], daar["trainer"]["batch"]) == (1e-5, 1, 1)
    assert (daar["sft"]["rank"], daar["sft"]["alpha"], daar["sft"]["learning_rate"]) == (8, 16.0, 5e-5)
    evol = resolved("evol-instruct", "paper-wizardlm-7b")
    assert (evol["trainer"]["generations"], evol["trainer"]["top_p"], evol["trainer"]["max_tokens"]) == (4, 0.95, 2048)
    assert len(EvolInstruct.Settings().operators) == 5
    assert evol["sft"]["batch_size"] == 64


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("preset", ["quick", "lab-maths"])
def test_every_method_has_a_preset_for_the_embedded_model(method: str, preset: str) -> None:
    arms = resolve({"method": method, "preset": preset, "model": "lab-maths"}, Plugins()).arms
    trainers = [arm.slots["trainer"] for arm in arms if arm.slots["trainer"]["use"] == method]
    assert len(trainers) >= 3, "the method and its controls"
    varied = {"labels", "select", "evolve", "check"}
    kept = [{key: value for key, value in one.items() if key not in varied} for one in trainers]
    assert all(one == kept[0] for one in kept), "controls run at the method's own settings"
    assert len({str(sorted((key, one[key]) for key in varied & one.keys())) for one in trainers}) == len(trainers)


@pytest.mark.parametrize("name", CONTROLS)
def test_a_control_differs_in_one_setting(name: str) -> None:
    method = getattr(methods, name.upper().replace("-INSTRUCT", "").replace("-", "_"))
    main = getattr(methods, CONTROLS[name][0].upper().replace("-INSTRUCT", "_INSTRUCT").replace("-", "_"))
    assert method.name == name
    assert dict(method.components["trainer"]) == {**main.components["trainer"], **CONTROLS[name][1]}
    assert method.components["sft"] == main.components["sft"]
    assert ("oracle" in method.components) == name.endswith("oracle")
    assert not method.transductive
    assert method.sees == "context+queries"
