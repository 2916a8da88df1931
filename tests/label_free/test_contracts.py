"""The rules for trainers and evaluators, and the papers' settings as presets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from harness_label_free.evol_rl import EvolRl
from harness_label_free.lmsi import Lmsi
from harness_label_free.r_zero import RZero
from harness_label_free.ttrl import Ttrl

from harness.evaluators.sampled import Sampled
from harness.registry.discover import Plugins
from harness.runs.config import resolve
from harness.testing import EvaluatorContract, TrainerContract
from tests.learning import Learner

SMALL = {"rounds": 2, "steps": 2, "contexts": 2, "samples": 4, "trained": 3, "split": "train"}


class TestLmsi(TrainerContract):
    component = Lmsi
    settings: ClassVar[Mapping[str, Any]] = {"rounds": 2, "samples": 3, "contexts": 2}
    slots: ClassVar[Mapping[str, tuple[str, Any]]] = {"sft": ("updater", Learner())}


class TestTtrl(TrainerContract):
    component = Ttrl
    settings: ClassVar[Mapping[str, Any]] = SMALL
    slots: ClassVar[Mapping[str, tuple[str, Any]]] = {"policy": ("updater", Learner())}


class TestEvolRl(TrainerContract):
    component = EvolRl
    settings: ClassVar[Mapping[str, Any]] = {**SMALL, "similarity": "ngrams"}
    slots: ClassVar[Mapping[str, tuple[str, Any]]] = {"policy": ("updater", Learner())}


class TestRZero(TrainerContract):
    component = RZero
    settings: ClassVar[Mapping[str, Any]] = {
        "rounds": 2, "prompt": "Write.", "pattern": "(.+)", "challenger_steps": 1, "generations": 4, "group": 4,
        "pool": 4, "solver_steps": 1, "contexts": 2, "samples": 3, "judged_by": 3, "labelled_by": 3,
    }  # fmt: skip
    slots: ClassVar[Mapping[str, tuple[str, Any]]] = {
        "challenger": ("updater", Learner()),
        "solver": ("updater", Learner()),
    }


class TestSampled(EvaluatorContract):
    component = Sampled
    settings: ClassVar[Mapping[str, Any]] = {"samples": 3}


def resolved(method: str, preset: str) -> Mapping[str, Any]:
    """The slots of a method under a preset."""
    given = {"method": method, "preset": preset, "model": "lab-maths", "task": "lab-maths"}
    return resolve(given, Plugins()).arms[0].slots


def test_the_papers_settings() -> None:
    ttrl = resolved("ttrl", "paper-qwen2.5-math-7b-aime24")
    assert (ttrl["trainer"]["samples"], ttrl["trainer"]["trained"], ttrl["trainer"]["contexts"]) == (64, 32, 8)
    assert ttrl["trainer"]["vote"] == "string"
    assert ttrl["policy"]["batch_size"] == 1, "eight updates per step: off-policy, so that the clip matters"
    assert ttrl["policy"]["loss"] == {"use": "grpo", "clip_low": 0.2, "clip_high": 0.2, "dual_clip": 3.0, "kl": 0.001}
    evol = resolved("evol-rl", "paper-qwen3-4b-math")
    assert evol["policy"]["loss"]["clip_high"] == 0.28
    assert evol["policy"]["loss"]["entropy"] == 0.003
    assert evol["trainer"]["samples"] == 64
    r_zero = resolved("r-zero", "paper-qwen3-4b")
    assert (r_zero["trainer"]["generations"], r_zero["challenger"]["batch_size"]) == (2048, 16)
    assert r_zero["solver"]["loss"]["clip_high"] == 0.3
    assert (r_zero["trainer"]["lowest"], r_zero["trainer"]["highest"]) == (0.3, 0.8)
    lmsi = resolved("lmsi", "paper-palm-540b-gsm8k")
    assert len(lmsi["trainer"]["formats"]) == 2


def test_quick_is_the_embedded_models_preset_made_smaller() -> None:
    for method in ("lmsi", "ttrl", "evol-rl", "r-zero", "ttrl-oracle", "untrained"):
        quick = resolve({"method": method, "preset": "quick"}, Plugins())
        whole = resolve({"method": method, "preset": "lab-maths", "model": "lab-maths"}, Plugins())
        assert quick.model == whole.model
        assert quick.task["test"] < whole.task["test"]
        assert [one.name for one in quick.also] == [one.name for one in whole.also]
        for slot in ("policy", "sft", "challenger", "solver"):
            assert quick.arms[0].slots.get(slot) == whole.arms[0].slots.get(slot)
