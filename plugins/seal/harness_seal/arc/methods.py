"""The method ``seal-arc``, and its presets from data files."""

from __future__ import annotations

from harness.api import Method
from harness.registry.presets import presets

SEAL_ARC = Method(
    name="seal-arc",
    paper="arXiv 2506.10943, section 3.2",
    summary="the model chooses augmentations and settings of its test-time training, and is trained on what worked",
    components={
        "editor": {"use": "arc-config"},
        "updater": {"use": "lora"},
        "policy": {"kind": "updater", "use": "lora"},
        "reward": {"use": "trial", "inner_seeds": 1},
        "trainer": {"use": "restem", "rounds": 1, "contexts": 11, "samples": 15, "select": "positive"},
        "evaluator": {"use": "grids"},
    },
    needs=frozenset({"generate", "train"}),
    beside=("arc-icl", "arc-ttt-no-rl", "arc-oracle-ttt"),
    presets=presets("harness_seal.arc"),
)
