"""The methods, their controls, and presets from data files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from harness.api import JSON, Method
from harness.registry.presets import presets

_PRESETS = presets("harness_selection")
_SFT: Mapping[str, Any] = {"kind": "updater", "use": "lora", "targets": "all-linear"}
_ORACLE: Mapping[str, Any] = {"kind": "evaluator", "use": "closed-book", "max_tokens": 4}


def _of(method: str, *left_out: str) -> dict[str, JSON]:
    """Presets of the files ``PRESET.METHOD.toml``, without some slots."""
    return {
        name.removesuffix(f".{method}"): {key: value for key, value in table.items() if key not in left_out}
        for name, table in _PRESETS.items()
        if name.endswith(f".{method}")
    }


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
