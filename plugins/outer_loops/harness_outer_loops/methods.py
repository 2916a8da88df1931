"""SEAL's method with other outer loops and another reward; their presets from data files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from harness.api import JSON, Method
from harness.registry.presets import presets

_PRESETS = presets("harness_outer_loops")
_POLICY: Mapping[str, Any] = {
    "kind": "updater",
    "use": "lora",
    "rank": 64,
    "alpha": 128.0,
    "targets": "all-linear",
    "learning_rate": 1e-5,
    "epochs": 1,
    "batch_size": 10,
}


def _method(name: str, paper: str, summary: str, loop: JSON, policy: JSON, lab: JSON) -> Method:
    """SEAL with an outer loop.

    Args:
        loop: the trainer that the guard watches.
        policy: what the loop's update of the writer has at any size.
        lab: that update's rate, epochs and batch on the embedded model, chosen on training pages of seed 77; the
            README has the figures.
    """
    return Method(
        name=name,
        paper=paper,
        summary=summary,
        components={
            "editor": {"use": "implications"},
            "updater": {"use": "lora"},
            "policy": {**_POLICY, **policy},
            "reward": {"use": "trial-probability"},
            "trainer": {"use": "guarded", "inner": loop},
            "evaluator": {"use": "closed-book"},
            "probability": {"kind": "evaluator", "use": "answer-probability"},
        },
        needs=frozenset({"generate", "train", "logprobs"}),
        beside=("none", "passage-repeat", "seal-no-rl", "icl"),
        presets={preset: {**tables, "policy": lab} for preset, tables in _PRESETS.items()},
    )


def _on_all_edits(loop: str, paper: str, summary: str, rate: float) -> Method:
    """A loop whose trainer and whose loss of the policy have one name."""
    lab = {"learning_rate": rate, "epochs": 4, "batch_size": 8}
    return _method(f"seal-{loop}", paper, summary, {"use": loop}, {"loss": loop}, lab)


SEAL_RLOO = _on_all_edits(
    "rloo",
    "arXiv 2402.14740",
    "SEAL whose writer learns from all of its edits: leave-one-out REINFORCE on how likely the answers became",
    3e-3,
)
SEAL_GRPO = _on_all_edits(
    "grpo",
    "arXiv 2402.03300",
    "SEAL whose writer learns from all of its edits: GRPO on how likely the answers became",
    1e-2,
)
SEAL_DPO = _on_all_edits(
    "dpo",
    "arXiv 2305.18290",
    "SEAL whose writer learns to prefer each context's best edit to its worst, by how likely the answers became",
    1e-2,
)
SEAL_PROBABILITY = _method(
    "seal-probability",
    "arXiv 2506.10943, section 3.1",
    "SEAL with ReST-EM on how likely the answers became, one update per edit, instead of accuracy over three",
    {"use": "restem", "start_as": "continue"},
    {"learning_rate": 3e-4, "epochs": 2},
    {"learning_rate": 1e-2, "epochs": 10, "batch_size": 8},
)

# Around the lab's own update (rate 1e-2, 15 epochs).
_MENUS = {"learning_rates": (3e-3, 1e-2, 3e-2), "epochs": (5, 15)}
SEAL_SETTINGS = replace(
    SEAL_PROBABILITY,
    name="seal-settings",
    summary="SEAL whose writer says after its text how it is to be learnt (rate and epochs), and is trained on both",
    components={**SEAL_PROBABILITY.components, "editor": {"use": "implications-and-settings"}},
    beside=("none", "seal-no-rl", "seal-probability"),
    presets={
        preset: {**tables, "editor": {**tables["editor"], **_MENUS}}
        for preset, tables in SEAL_PROBABILITY.presets.items()
    },
)
