"""The cures as methods. All of them learn the same edits, so that rows differ in how these are learnt and nothing else.

What makes a cure stands in its recipe. The presets ``lab`` have the settings of updates of the embedded model: one for
updates that are shown their edit alone, one for those that are shown more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from harness_outer_loops.methods import SEAL_PROBABILITY

from harness.api import JSON, Method

_SHAPE: JSON = {"rank": 16, "alpha": 32.0, "targets": "all-linear"}
PLAIN: JSON = {**_SHAPE, "learning_rate": 5e-3, "epochs": 5, "batch_size": 2}
MIXED: JSON = {**_SHAPE, "learning_rate": 4e-3, "epochs": 4, "batch_size": 8}
"""Chosen on test pages of seed 77; see the README. Those of one update (1e-2, 15 epochs) destroy the model in a chain.
"""
_LAB: Mapping[str, Any] = {
    "limit": 128,
    "task": {"use": "lab-facts", "test": 128},
    # What is asked beside the contexts: pages that no edit is about, with the page in the prompt, what pre-training
    # taught, and how probable the accepted answers are.
    "also": {
        "open-book": {"evaluator": {"use": "open-book", "inner": "closed-book"}, "split": "validation", "limit": 12},
        "known": {"task": {"use": "lab-known", "test": 24}},
        "p": {"evaluator": "answer-probability"},
    },
    "editor": {"max_tokens": 256},
    "protocol": {"length": 16, "every": 4},
}
_QUICK: Mapping[str, Any] = {
    "limit": 12,
    "seeds": 1,
    # Named, so that --all --preset quick keeps to the methods that are not about sequences.
    "task": {"use": "lab-facts"},
    "editor": {"max_tokens": 256},
    "protocol": {"length": 6, "every": 3},
}
"""A first look with the embedded model: two sequences of six edits, too few to rank anything by."""


def _method(
    name: str, paper: str, summary: str, updater: JSON, beside: tuple[str, ...] = (), **protocol: Any
) -> Method:
    shown_more = {"rehearse", "words", "prompts"} & updater.keys()
    settings = MIXED if shown_more else {"epochs": 5, "batch_size": 2} if updater["use"] == "osf" else PLAIN
    return Method(
        name=name,
        paper=paper,
        summary=summary,
        components={
            "editor": {"use": "self-qa"},
            "updater": updater,
            "trainer": {"use": "none"},
            "evaluator": {"use": "closed-book"},
        },
        needs=frozenset({"generate", "train"}),
        protocol={"use": "sequence", **protocol},
        beside=beside,
        presets={"lab": {**_LAB, "updater": settings}, "quick": {**_QUICK, "updater": settings}},
    )


_TETHER: JSON = {"words": 32, "words_tokens": 32, "words_weight": 2.0}

CHAIN = _method(
    "chain", "arXiv 2506.10943, figure 6", "one adapter trained on from edit to edit, and no cure", {"use": "lora"}
)
APART = _method(
    "apart", "", "an adapter of its own for every context, and an oracle for a router", {"use": "lora"},
    ("chain",), start_as="apart",
)  # fmt: skip
MERGED = _method(
    "merged", "arXiv 2212.04089", "an adapter of its own for every context; all are merged to answer", {"use": "lora"},
    ("apart",), start_as="apart", serve="cat",
)  # fmt: skip
ROUTED = _method(
    "routed", "", "an adapter of its own for every context; a router picks one for every question", {"use": "lora"},
    ("apart",), start_as="apart", serve="words",
)  # fmt: skip
SUPERPOSED = _method(
    "superposed", "arXiv 1902.05522", "every context's adapter in one, under a key of its own; an oracle has the keys",
    {"use": "lora"}, ("apart",), start_as="apart", serve="superposition",
)  # fmt: skip
JOINT = _method(
    "joint", "", "all edits so far at once, from the untouched model: not a sequence, but a ceiling", {"use": "lora"},
    ("chain",), start_as="joint",
)  # fmt: skip
REHEARSAL = _method(
    "rehearsal", "arXiv 1902.10486", "every update learns sequences of earlier edits again",
    {"use": "retain", "rehearse": 0.75}, ("chain",),
)  # fmt: skip
OWN_WORDS = _method(
    "own-words", "Robins 1995", "every update learns texts that the untouched model wrote itself",
    {"use": "retain", **_TETHER, "words_as": "tokens"}, ("chain",),
)  # fmt: skip
TETHERED = _method(
    "tethered", "", "every update is held to the untouched model, on its own words and on the prompts of its edits",
    {"use": "retain", **_TETHER, "prompts": 2.0}, ("chain",),
)  # fmt: skip
# The edit of context distillation (plugin reading), under the protocol of this one.
DISTILLED = replace(
    CHAIN,
    name="distilled-chain",
    paper="arXiv 2412.14964",
    summary="learns what the model answers to its own questions with the page in view",
    components={**CHAIN.components, "editor": {"use": "distilled", "inner": {"use": "self-qa"}}},
    beside=("chain",),
    presets={name: {**preset, "editor": {"inner": preset["editor"]}} for name, preset in CHAIN.presets.items()},
)
EWC = _method(
    "ewc", "arXiv 1612.00796", "weights that earlier edits and own words depend on are held where they are",
    {"use": "retain", "ewc": 0.1}, ("chain",),
)  # fmt: skip
O_LORA = _method(
    "o-lora", "arXiv 2310.14152", "a new adapter for every edit, held orthogonal to those before it",
    {"use": "retain", "orthogonal": 0.5}, ("chain",), start_as="stack",
)  # fmt: skip
NULL_SPACE = _method(
    "null-space", "after arXiv 2103.07113", "a new adapter for every edit, blind to the inputs of what is retained",
    {"use": "retain", "null_space": 0.9}, ("chain",), start_as="fold",
)  # fmt: skip
OSF = _method(
    "osf", "arXiv 2504.07097", "every update trains the weights' smaller singular directions and leaves the others",
    {"use": "osf"}, ("chain",), start_as="fold",
)  # fmt: skip
LASTING = _method(
    "lasting", "", "rehearses earlier edits, and is held to the untouched model on its own words and prompts",
    {"use": "retain", "rehearse": 0.75, **_TETHER, "prompts": 2.0}, ("chain",),
)  # fmt: skip

# Its policy learns as that of seal-probability does, and is deployed in a sequence.
SEAL_RETENTION = replace(
    SEAL_PROBABILITY,
    name="seal-retention",
    paper="arXiv 2506.10943, section 3.1",
    summary="SEAL whose writer is paid for what an edit teaches, less what it makes the model forget",
    components={
        **SEAL_PROBABILITY.components,
        "editor": {"use": "self-qa"},
        "reward": {"use": "retention", "evaluator": "probability"},
    },
    protocol={"use": "sequence"},
    beside=("chain",),
    presets={
        "lab": {**SEAL_PROBABILITY.presets["lab"], "updater": PLAIN, "also": _LAB["also"], "protocol": {"length": 8}},
        "quick": {**SEAL_PROBABILITY.presets["quick"], "updater": PLAIN, "protocol": {"length": 6}},
    },
)

NAMES = {
    "chain": "CHAIN",
    "apart": "APART",
    "merged": "MERGED",
    "routed": "ROUTED",
    "superposed": "SUPERPOSED",
    "joint": "JOINT",
    "rehearsal": "REHEARSAL",
    "own-words": "OWN_WORDS",
    "tethered": "TETHERED",
    "distilled-chain": "DISTILLED",
    "ewc": "EWC",
    "o-lora": "O_LORA",
    "null-space": "NULL_SPACE",
    "osf": "OSF",
    "lasting": "LASTING",
    "seal-retention": "SEAL_RETENTION",
}
