"""The methods, their controls, and presets from data files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from harness.api import JSON, Method
from harness.registry.presets import on_top, presets_of

_QUICK, _WHOLE = "quick", "lab-maths"


def _of(*parts: str) -> dict[str, JSON]:
    """The presets of the first of the methods that has a file of it; a quick preset says what differs from that of the
    embedded model."""
    out = presets_of("harness_label_free", *parts)
    return {**out, _QUICK: on_top(out[_WHOLE], out[_QUICK])}


def _without(given: Mapping[str, JSON], *slots: str) -> dict[str, JSON]:
    return {name: {key: value for key, value in table.items() if key not in slots} for name, table in given.items()}


_EVALUATED: Mapping[str, Any] = {"evaluator": {"use": "sampled"}}
_POLICY: Mapping[str, Any] = {"kind": "updater", "use": "lora", "loss": "grpo", "targets": "all-linear"}

UNTRAINED = Method(
    name="untrained",
    paper="",
    summary="the model as it is; beside pass@1 its majority vote is what learning from votes has to beat",
    components={**_EVALUATED, "trainer": {"use": "none"}},
    sees="context+queries",
    needs=frozenset({"generate"}),
    presets=_without(_of("ttrl"), "trainer", "policy", "oracle"),
)

LMSI = Method(
    name="lmsi",
    paper="arXiv 2210.11610, section 3",
    summary="samples chains for unlabelled questions and learns those that reach the majority's answer",
    components={
        **_EVALUATED,
        "sft": {"kind": "updater", "use": "lora", "targets": "all-linear"},
        "trainer": {"use": "lmsi"},
    },
    sees="context+queries",
    needs=frozenset({"generate", "train"}),
    beside=("untrained", "lmsi-random", "lmsi-oracle"),
    presets=_of("lmsi"),
)


def _control(method: Method, labels: str, summary: str) -> Method:
    slots: dict[str, Any] = {name: dict(table) for name, table in method.components.items()}
    slots["trainer"] = {**slots["trainer"], "labels": labels}
    if labels == "oracle":
        slots["oracle"] = {"kind": "evaluator", "use": "sampled", "samples": 1}
        slots["trainer"]["split"] = "train"
    name = f"{method.name.removesuffix('-inductive')}-{labels}"
    kept = method.presets if labels == "oracle" else _without(method.presets, "oracle")
    return replace(method, name=name, paper="", summary=summary, components=slots, beside=("untrained",), presets=kept)


LMSI_RANDOM = _control(LMSI, "random", "control: learns the chains of one of the sampled answers, drawn at random")
LMSI_ORACLE = _control(LMSI, "oracle", "upper bound: learns the chains of the right answer, with labels")

TTRL = Method(
    name="ttrl",
    paper="arXiv 2504.16084, section 3",
    summary="policy gradient on the test questions, rewarded for agreeing with the majority; votes by equal strings",
    components={**_EVALUATED, "policy": _POLICY, "trainer": {"use": "ttrl"}},
    sees="context+queries",
    transductive=True,
    needs=frozenset({"generate", "train"}),
    beside=("untrained",),
    presets=_of("ttrl"),
)

TTRL_INDUCTIVE = replace(
    TTRL,
    name="ttrl-inductive",
    summary="TTRL on the unlabelled questions of the training split; votes by equal strings",
    components={**TTRL.components, "trainer": {"use": "ttrl", "split": "train"}},
    transductive=False,
    beside=("untrained", "ttrl-random", "ttrl-oracle"),
)
TTRL_RANDOM = _control(TTRL_INDUCTIVE, "random", "control: rewarded for one of the sampled answers, drawn at random")
TTRL_ORACLE = _control(TTRL_INDUCTIVE, "oracle", "upper bound: rewarded for right answers, with labels")

EVOL_RL = Method(
    name="evol-rl",
    paper="arXiv 2509.15194, section 3",
    summary="policy gradient where the majority is right and novelty decides within it; votes by equal strings",
    components={
        **_EVALUATED,
        "policy": {**_POLICY, "loss": {"use": "grpo", "clip_high": 0.28, "entropy": 0.003}},
        "trainer": {"use": "evol-rl"},
    },
    roles={"teacher": "model", "student": "@teacher", "embedder": "model"},
    sees="context+queries",
    needs=frozenset({"generate", "train"}),
    beside=("untrained", "ttrl-inductive"),
    presets=_of("evol-rl", "ttrl"),
)

R_ZERO = Method(
    name="r-zero",
    paper="arXiv 2508.05004, section 3",
    summary="a challenger writes problems at the edge of a solver's ability; the solver learns its own votes on them",
    components={
        **_EVALUATED,
        "challenger": _POLICY,
        "solver": _POLICY,
        "trainer": {"use": "r-zero", "prompt": "Write a new problem between <question> and </question>."},
    },
    roles={"teacher": "model", "student": "model"},
    sees="context+queries",
    needs=frozenset({"generate", "train"}),
    beside=("untrained",),
    presets=_of("r-zero"),
)
