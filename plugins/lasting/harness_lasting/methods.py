"""The cures as methods. All of them write the same edits, so that rows differ in how these are learnt and nothing else.

The settings that make a cure stand in its recipe; the preset ``lab`` has what all share with the embedded model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.api import JSON, Method

_EDITOR: JSON = {"use": "self-qa"}
_REST: JSON = {
    "open-book": {"evaluator": {"use": "open-book", "inner": "closed-book"}, "split": "validation", "limit": 12},
    "known": {"task": {"use": "lab-known", "test": 24}},
    "p": {"evaluator": "answer-probability"},
}
"""What is asked beside the contexts: pages that no edit is about, with the page in the prompt; what pre-training
taught; and how probable the accepted answers are."""
_ADAPTER: JSON = {
    "rank": 16,
    "alpha": 32.0,
    "targets": "all-linear",
    "learning_rate": 5e-3,
    "epochs": 5,
    "batch_size": 2,
}
_LAB: Mapping[str, Any] = {
    "limit": 128,
    "also": _REST,
    "editor": {"max_tokens": 256},
    "updater": _ADAPTER,
    "protocol": {"length": 16},
}


def _cure(
    name: str, paper: str, summary: str, updater: JSON, *, beside: tuple[str, ...] = ("chain",), **protocol: Any
) -> Method:
    return Method(
        name=name,
        paper=paper,
        summary=summary,
        components={
            "editor": _EDITOR,
            "updater": {"use": "retain", **updater},
            "trainer": {"use": "none"},
            "evaluator": {"use": "closed-book"},
        },
        needs=frozenset({"generate", "train"}),
        protocol={"use": "sequence", **protocol},
        beside=beside,
        presets={"lab": _LAB},
    )


CHAIN = _cure(
    "chain", "arXiv 2506.10943, figure 6", "one adapter trained on from edit to edit, without a cure", {}, beside=()
)
REHEARSAL = _cure("rehearsal", "", "every update learns the sequences of all earlier edits again", {"rehearse": 1.0})
OWN_WORDS = _cure(
    "own-words", "", "every update learns texts of the untouched model's own again", {"words": 32, "words_as": "tokens"}
)
TETHERED = _cure("tethered", "", "every update is held to the untouched model on its own words", {"words": 32})
READING = _cure(
    "context-distillation",
    "arXiv 2209.15189",
    "learns what the model says of an edit with the page in view",
    {"reading": 1.0},
)
LASTING = _cure(
    "lasting",
    "",
    "rehearses all earlier edits and is held to the untouched model on its own words",
    {"rehearse": 1.0, "words": 32},
    beside=("chain", "rehearsal", "tethered"),
)
APART = _cure("apart", "", "an adapter of its own for every context, with an oracle for a router", {}, start_as="apart")
JOINT = _cure(
    "joint",
    "",
    "all edits so far at once, from the untouched model: no sequence, but its ceiling",
    {},
    start_as="joint",
)

NAMES = {
    "chain": "CHAIN",
    "rehearsal": "REHEARSAL",
    "own-words": "OWN_WORDS",
    "tethered": "TETHERED",
    "context-distillation": "READING",
    "lasting": "LASTING",
    "apart": "APART",
    "joint": "JOINT",
}
