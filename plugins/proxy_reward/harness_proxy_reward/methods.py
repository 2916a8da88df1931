"""The method ``proxy-reward``: SEAL with another reward."""

from __future__ import annotations

from harness.api import Method
from harness.registry.presets import presets

PROXY_REWARD = Method(
    name="proxy-reward",
    paper="arXiv 2506.10943 (second version, appendix)",
    summary="SEAL whose outer loop keeps the edits that a judge's rubric prefers, instead of trying each one out",
    components={
        "editor": {"use": "implications"},
        "updater": {"use": "lora"},
        "policy": {
            "kind": "updater",
            "use": "lora",
            "rank": 64,
            "alpha": 128.0,
            "targets": "all-linear",
            "learning_rate": 3e-4,
            "epochs": 2,
            "batch_size": 10,
        },
        "reward": {"use": "rubric"},
        "trainer": {"use": "restem"},
        "evaluator": {"use": "closed-book"},
    },
    roles={"teacher": "model", "student": "@teacher", "judge": "model"},
    needs=frozenset({"generate", "train"}),
    beside=("none", "passage", "seal-no-rl", "seal"),
    presets=presets("harness_proxy_reward"),
)
