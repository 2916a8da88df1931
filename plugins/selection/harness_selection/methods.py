"""The methods, their controls, and presets from data files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from harness.api import JSON, Method
from harness.registry.presets import on_top, presets_of

_SFT: Mapping[str, Any] = {"kind": "updater", "use": "lora", "targets": "all-linear"}
_ORACLE: Mapping[str, Any] = {"kind": "evaluator", "use": "closed-book", "max_tokens": 4}


def _of(method: str, *left_out: str) -> dict[str, JSON]:
    """The method's presets, without some slots; ``quick`` is on top of ``lab-maths``."""
    found = presets_of("harness_selection", method)
    found["quick"] = on_top(found["lab-maths"], found["quick"])
    return {name: {key: value for key, value in table.items() if key not in left_out} for name, table in found.items()}


def _control(method: Method, labels: str, summary: str, beside: tuple[str, ...] = ()) -> Method:
    slots: dict[str, Any] = {name: dict(table) for name, table in method.components.items()}
    slots["trainer"] = {**slots["trainer"], "labels": labels}
    if labels == "oracle":
        slots["oracle"] = _ORACLE
    name = f"{method.name}-{labels}"
    return replace(method, name=name, paper="", summary=summary, components=slots, beside=beside)


ICM = Method(
    name="icm",
    paper="arXiv 2506.10139, section 2",
    summary="labels unlabelled claims so that they predict each other, by annealing, and learns the labels",
    components={"evaluator": {"use": "closed-book"}, "sft": _SFT, "trainer": {"use": "icm"}},
    sees="context+queries",
    needs=frozenset({"generate", "logprobs", "train"}),
    beside=("icm-zero-shot", "icm-random", "icm-oracle"),
    presets=_of("icm"),
)
ICM_ZERO_SHOT = _control(ICM, "zero-shot", "control: learns the model's own labels, made without demonstrations")
ICM_RANDOM = _control(ICM, "random", "control: learns labels drawn at random")
ICM_ORACLE = _control(ICM, "oracle", "upper bound: learns the right labels")


EVOL_INSTRUCT = Method(
    name="evol-instruct",
    paper="arXiv 2304.12244, section 3; the check: arXiv 2309.12284, section 3.3",
    summary="rewrites questions to be harder, eliminates failed ones, learns own answers that pass a backward check",
    components={"evaluator": {"use": "sampled"}, "sft": _SFT, "trainer": {"use": "evol-instruct"}},
    sees="context+queries",
    needs=frozenset({"generate", "train"}),
    beside=("untrained", "evol-instruct-seeds", "evol-instruct-unchecked"),
    presets=_of("evol-instruct"),
)


def _evol(name: str, summary: str, **settings: Any) -> Method:
    slots: dict[str, Any] = {key: dict(table) for key, table in EVOL_INSTRUCT.components.items()}
    slots["trainer"] |= settings
    own = f"evol-instruct-{name}"
    return replace(EVOL_INSTRUCT, name=own, paper="", summary=summary, components=slots, beside=())


EVOL_SEEDS = _evol("seeds", "control: learns own answers to the seeds that pass the backward check", evolve=False)
EVOL_UNCHECKED = _evol("unchecked", "control: evolves and learns own answers without a backward check", check=False)


SIMPLE = Method(
    name="simple",
    paper="arXiv 2305.17197, section 3",
    summary="labels questions by dropout passes that neighbouring passes support, and learns the labels",
    components={"evaluator": {"use": "closed-book"}, "sft": _SFT, "trainer": {"use": "simple"}},
    roles={"teacher": "model", "student": "@teacher", "embedder": "model"},
    sees="context+queries",
    needs=frozenset({"generate", "logprobs", "hidden", "dropout", "train"}),
    beside=("simple-plain", "simple-voted", "simple-oracle"),
    presets=_of("simple"),
)
SIMPLE_PLAIN = _control(SIMPLE, "plain", "control: plain pseudo-labels, of one pass without dropout")
SIMPLE_VOTED = _control(SIMPLE, "voted", "control: the majority of all dropout passes, reliable or not")
SIMPLE_ORACLE = _control(SIMPLE, "oracle", "upper bound: learns the right labels")


DAAR = Method(
    name="daar",
    paper="arXiv 2502.04380, section 4",
    summary="learns the fifth of a pool whose domain a probe on the model's states is least sure of",
    components={"evaluator": {"use": "sampled"}, "sft": _SFT, "trainer": {"use": "daar"}},
    roles={"teacher": "model", "student": "@teacher", "embedder": "model"},
    sees="context+queries",
    needs=frozenset({"generate", "hidden", "train"}),
    beside=("untrained", "daar-random", "daar-all"),
    presets=_of("daar"),
)


def _daar(select: str, summary: str) -> Method:
    slots = {**DAAR.components, "trainer": {"use": "daar", "select": select}}
    return replace(DAAR, name=f"daar-{select}", paper="", summary=summary, components=slots, beside=())


DAAR_RANDOM = _daar("random", "control: learns as many items of the pool, drawn at random")
DAAR_ALL = _daar("all", "control: learns the whole pool")
