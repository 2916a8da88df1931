"""The rules for trainers and evaluators, and presets: the papers' settings, and one that runs by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
from harness_self_judging.alma import Alma
from harness_self_judging.evaluator import SelfJudged
from harness_self_judging.rewarding import MetaRewarding, SelfRewarding

from harness.errors import UsageError
from harness.registry.discover import Plugins
from harness.runs.config import Config, resolve
from harness.testing import EvaluatorContract, TrainerContract
from tests.learning import Learner

SLOTS: Mapping[str, tuple[str, Any]] = {"policy": ("updater", Learner()), "sft": ("updater", Learner())}
RANDOM: Mapping[str, Any] = {"rounds": 2, "samples": 3, "contexts": 2, "rated_by": "random"}


class TestSelfRewarding(TrainerContract):
    component = SelfRewarding
    settings: ClassVar[Mapping[str, Any]] = RANDOM
    slots: ClassVar[Mapping[str, tuple[str, Any]]] = SLOTS


class TestMetaRewarding(TrainerContract):
    component = MetaRewarding
    settings: ClassVar[Mapping[str, Any]] = RANDOM
    slots: ClassVar[Mapping[str, tuple[str, Any]]] = SLOTS


class TestAlma(TrainerContract):
    component = Alma
    settings: ClassVar[Mapping[str, Any]] = RANDOM
    slots: ClassVar[Mapping[str, tuple[str, Any]]] = SLOTS


class TestSelfJudged(EvaluatorContract):
    component = SelfJudged
    settings: ClassVar[Mapping[str, Any]] = {"samples": 3, "measure": "pass@1"}


def resolved(method: str, preset: str, **more: Any) -> Config:
    return resolve({"method": method, "preset": preset, **more}, Plugins())


def slots(method: str, preset: str) -> Mapping[str, Any]:
    return resolved(method, preset, model="lab-maths", task="lab-maths").arms[0].slots


def test_the_papers_settings() -> None:
    own = slots("self-rewarding", "paper-llama-2-70b")
    trainer = own["trainer"]
    assert (trainer["rounds"], trainer["samples"], trainer["judgements"]) == (2, 4, 3)
    assert (trainer["temperature"], trainer["top_p"], trainer["propose_temperature"]) == (0.7, 0.9, 0.6)
    assert own["policy"]["loss"] == {"use": "dpo", "beta": 0.1}
    meta = slots("meta-rewarding", "paper-llama-3-8b")
    trainer = meta["trainer"]
    assert (trainer["rounds"], trainer["samples"], trainer["judgements"]) == (4, 7, 11)
    assert (trainer["rho"], trainer["judge_rounds"]) == ([0.0, 0.32, 0.32, 0.40], 2)
    assert (meta["policy"]["epochs"], meta["policy"]["batch_size"]) == (10, 32)
    alma = slots("alma", "paper-llama-3-8b")
    assert (alma["trainer"]["rounds"], alma["trainer"]["samples"]) == (10, 200)
    assert alma["trainer"]["judge_score"] == "direct"


@pytest.mark.parametrize("method", ["self-rewarding", "meta-rewarding", "alma"])
def test_quick_runs_with_the_embedded_model_unless_another_is_named(method: str) -> None:
    found = resolved(method, "quick")
    assert found.model["use"] == "lab-maths"
    assert found.task["use"] == "lab-maths"
    assert resolved(method, "quick", model="lab").model["use"] == "lab"


def test_controls_differ_from_their_method_in_what_they_say() -> None:
    arms = {arm.method.name: arm for arm in resolved("self-rewarding", "quick").arms}
    arms |= {arm.method.name: arm for arm in resolved("alma", "quick").arms}
    own = arms["self-rewarding"].slots["trainer"]

    def other(name: str, of: Mapping[str, Any]) -> dict[str, Any]:
        trainer = arms[name].slots["trainer"]
        return {key: value for key, value in trainer.items() if of.get(key) != value}

    assert other("self-rewarding-sft", own) == {"learn": "best"}
    assert other("self-rewarding-random", own) == {"rated_by": "random"}
    assert other("self-rewarding-oracle", own) == {"rated_by": "oracle", "split": "train"}
    alma = arms["alma"].slots["trainer"]
    assert other("alma-integer", alma) == {"judge_integer": True}
    assert other("alma-going-on", alma) == {"restart": False}
    assert other("alma-random", alma) == {"rated_by": "random"}
    assert arms["self-rewarding"].slots["policy"]["loss"]["use"] == "dpo"
    assert "policy" not in arms["self-rewarding-sft"].slots
    assert arms["alma"].roles["judge"] == arms["alma"].roles["teacher"], "its judge stays as the start"
    assert arms["self-rewarding"].roles["judge"] == "@teacher"


def test_a_prompt_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match=r"no prompt 'additiv'\. Did you mean 'additive'"):
        SelfRewarding(SelfRewarding.Settings(judge_prompt="additiv"))
    with pytest.raises(UsageError, match="lacks the placeholder"):
        SelfRewarding(SelfRewarding.Settings(judge_prompt="few-shot"))
