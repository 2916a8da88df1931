"""The methods ``seal`` and ``seal-no-rl``, and their presets from data files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from harness.api import JSON, Method
from harness.registry.presets import presets

PAPER = "arXiv 2506.10943, section 3.1"


_PRESETS = presets("harness_seal")


def _without_outer_loop(preset: JSON) -> JSON:
    return {key: value for key, value in preset.items() if key not in {"trainer", "reward", "policy", "validation"}}


# The inner update is the updater's default: rank 32 on the query and value projections, rate 1e-3, ten epochs.
_INNER: Mapping[str, Any] = {"use": "lora"}
_OUTER: Mapping[str, Any] = {
    "kind": "updater",
    "use": "lora",
    "rank": 64,
    "alpha": 128.0,
    "targets": "all-linear",
    "learning_rate": 3e-4,
    "epochs": 2,
    "batch_size": 10,
}

SEAL = Method(
    name="seal",
    paper=PAPER,
    summary="the model writes implications of a passage, learns them, and is trained to write those that help most",
    components={
        "editor": {"use": "implications"},
        "updater": _INNER,
        "policy": _OUTER,
        "reward": {"use": "trial"},
        "trainer": {"use": "restem"},
        "evaluator": {"use": "closed-book"},
    },
    needs=frozenset({"generate", "train"}),
    beside=("none", "passage", "passage-repeat", "seal-no-rl", "icl"),
    presets=_PRESETS,
)

SEAL_NO_RL = Method(
    name="seal-no-rl",
    paper=PAPER,
    summary="the model writes implications of a passage and learns them, without having been trained to",
    components={
        "editor": {"use": "implications"},
        "updater": _INNER,
        "trainer": {"use": "none"},
        "evaluator": {"use": "closed-book"},
    },
    needs=frozenset({"generate"}),
    beside=("none", "passage", "passage-repeat", "icl"),
    presets={name: _without_outer_loop(preset) for name, preset in _PRESETS.items()},
)

_CONTROLS = ("none", "passage", "seal-no-rl")
HOST = replace(SEAL_NO_RL, beside=_CONTROLS)
HOST_WITH_LOOP = replace(SEAL, beside=_CONTROLS)
"""The recipes into which a plugin without a method of its own puts its component."""
