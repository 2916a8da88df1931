"""The methods, their controls, and presets from data files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from harness.api import Method
from harness.registry.presets import presets_of

_TRAINED: Mapping[str, Any] = {
    "evaluator": {"use": "closed-book"},
    "sft": {"kind": "updater", "use": "lora", "targets": "all-linear"},
    "dpo": {"kind": "updater", "use": "lora", "targets": "all-linear", "loss": {"use": "dpo", "nll": 1.0}},
}

AL = Method(
    name="al",
    paper="ACL 2025 Findings 1084 (https://aclanthology.org/2025.findings-acl.1084)",
    summary="learns its own open-book answers to its own questions, and to prefer them to its closed-book answers",
    components={**_TRAINED, "trainer": {"use": "al"}},
    transductive=True,
    needs=frozenset({"generate", "train"}),
    protocol="by-round",
    beside=("al-dpo", "al-random", "al-oracle"),
    presets=presets_of("harness_self_study", "al"),
)

ALAS = Method(
    name="alas",
    paper="arXiv 2508.15805, abstract",
    summary="after the abstract: a curriculum with memory over what it finds, lessons (SFT), exams, failures (DPO)",
    components={**_TRAINED, "trainer": {"use": "alas"}},
    transductive=True,
    needs=frozenset({"generate", "train"}),
    protocol="by-round",
    beside=("alas-random", "alas-oracle"),
    presets=presets_of("harness_self_study", "alas"),
)


def _control(method: Method, name: str, summary: str, **trainer: Any) -> Method:
    slots: dict[str, Any] = {slot: dict(table) for slot, table in method.components.items()}
    slots["trainer"] |= trainer
    sees = method.sees
    if trainer.get("labels") == "oracle":
        slots["oracle"] = {"kind": "evaluator", "use": "open-book", "inner": {"use": "closed-book"}}
        slots["trainer"]["split"] = "train"
        sees = "context+queries"
    return replace(method, name=name, paper="", summary=summary, components=slots, sees=sees, beside=())


_RANDOM = "control: its answers are those to other questions, drawn at random"
_ORACLE = "control: labelled questions on the same documents, with its answers that the labels mark as right"

AL_DPO = _control(AL, "al-dpo", "ablation: without the open-book stage", learn_writing=False, learn_answers=False)
AL_RANDOM = _control(AL, "al-random", _RANDOM, labels="random")
AL_ORACLE = _control(AL, "al-oracle", _ORACLE, labels="oracle")
ALAS_RANDOM = _control(ALAS, "alas-random", _RANDOM, labels="random")
ALAS_ORACLE = _control(ALAS, "alas-oracle", _ORACLE, labels="oracle")
