"""The methods, their controls, and presets from data files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from harness.api import JSON, Method
from harness.registry.presets import on_top, presets_of

_QUICK: Mapping[str, Any] = {"task": {"train": 48, "test": 48}, "trainer": {"probe": 16}}


def _of(method: str) -> dict[str, JSON]:
    """The method's presets; ``quick`` is ``lab-maths`` on fewer problems."""
    found = presets_of("harness_self_judging", method)
    return {**found, "quick": {**on_top(found["lab-maths"], _QUICK), "model": "lab-maths"}}


_ROLES: Mapping[str, str] = {
    "teacher": "model",
    "student": "@teacher",
    "judge": "@teacher",
    "proposer": "model",
}
_SFT: Mapping[str, Any] = {"kind": "updater", "use": "lora", "targets": "all-linear"}
_DPO: Mapping[str, Any] = {**_SFT, "loss": {"use": "dpo"}}
_ORACLE: Mapping[str, Any] = {"kind": "evaluator", "use": "sampled", "samples": 1}

SELF_REWARDING = Method(
    name="self-rewarding",
    paper="arXiv 2401.10020, section 2",
    summary="answers, marks its own answers, learns by DPO to prefer the best to the worst, and does it all again",
    components={"evaluator": {"use": "sampled"}, "policy": _DPO, "trainer": {"use": "self-rewarding"}},
    roles=_ROLES,
    sees="context+queries",
    needs=frozenset({"generate", "train"}),
    beside=("untrained", "self-rewarding-sft", "self-rewarding-random", "self-rewarding-oracle"),
    presets=_of("self-rewarding"),
)


def _control(method: Method, name: str, summary: str, **trainer: Any) -> Method:
    """A method with other settings of its trainer; with oracle scores it gets the evaluator that gives them."""
    slots: dict[str, Any] = {slot: dict(table) for slot, table in method.components.items()}
    slots["trainer"] |= trainer
    if trainer.get("rated_by") == "oracle":
        slots["oracle"] = _ORACLE
        slots["trainer"]["split"] = "train"
    return replace(method, name=name, paper="", summary=summary, components=slots, beside=("untrained",))


_SFT_ONLY = _control(
    SELF_REWARDING,
    "self-rewarding-sft",
    "control: learns the answers that it marks highest by supervised fine-tuning, and nothing from the worst",
    learn="best",
)
SELF_REWARDING_SFT = replace(
    _SFT_ONLY,
    components={**{name: table for name, table in _SFT_ONLY.components.items() if name != "policy"}, "sft": _SFT},
)
SELF_REWARDING_RANDOM = _control(
    SELF_REWARDING, "self-rewarding-random", "control: pairs by scores drawn at random", rated_by="random"
)
SELF_REWARDING_ORACLE = _control(
    SELF_REWARDING, "self-rewarding-oracle", "upper bound: a right answer against a wrong one, with labels",
    rated_by="oracle",
)  # fmt: skip

META_REWARDING = Method(
    name="meta-rewarding",
    paper="arXiv 2407.19594, section 2",
    summary="Self-Rewarding with length control, whose judge also learns which of its judgements are the best",
    components={"evaluator": {"use": "sampled"}, "policy": _DPO, "trainer": {"use": "meta-rewarding"}},
    roles={**_ROLES, "meta-judge": "@teacher"},
    sees="context+queries",
    needs=frozenset({"generate", "train"}),
    beside=("untrained", "self-rewarding"),
    presets=_of("meta-rewarding"),
)

ALMA = Method(
    name="alma",
    paper="arXiv 2412.04305, section 3",
    summary="learns the best of many answers of a pool of checkpoints, by the expected score of a fixed judge",
    components={"evaluator": {"use": "sampled"}, "sft": _SFT, "trainer": {"use": "alma"}},
    roles={**_ROLES, "judge": "model"},
    sees="context+queries",
    needs=frozenset({"generate", "train", "logprobs"}),
    beside=("untrained", "alma-integer", "alma-going-on", "alma-random", "alma-oracle"),
    presets=_of("alma"),
)
ALMA_INTEGER = _control(
    ALMA, "alma-integer", "control: ALMA with its judge's most probable mark in place of the mean", judge_integer=True
)
ALMA_GOING_ON = _control(
    ALMA, "alma-going-on", "control: each round trains the last one's model on its own data alone", restart=False
)
ALMA_RANDOM = _control(ALMA, "alma-random", "control: ALMA with scores drawn at random", rated_by="random")
ALMA_ORACLE = _control(ALMA, "alma-oracle", "upper bound: ALMA with right answers, with labels", rated_by="oracle")
