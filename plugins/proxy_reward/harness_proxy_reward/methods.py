"""The method ``proxy-reward``: SEAL's, with another reward."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from types import MappingProxyType

from harness.api import Method

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
    presets=MappingProxyType(
        {
            file.name.removesuffix(".toml"): tomllib.loads(file.read_text("utf-8"))
            for file in files("harness_proxy_reward").joinpath("presets").iterdir()
            if file.name.endswith(".toml")
        }
    ),
)
