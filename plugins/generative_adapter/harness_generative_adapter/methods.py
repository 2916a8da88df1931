"""The method ``generative-adapter``."""

from __future__ import annotations

from harness.api import Method
from harness.registry.presets import presets

GENERATIVE_ADAPTER = Method(
    name="generative-adapter",
    paper="arXiv 2411.05877",
    summary="a generator, trained once, turns a passage into low-rank weight changes in one forward pass",
    components={
        "editor": {"use": "passage"},
        "updater": {"use": "generated"},
        "trainer": {"use": "none"},
        "evaluator": {"use": "closed-book"},
    },
    needs=frozenset({"generate", "train"}),
    beside=("none", "passage", "icl"),
    presets=presets("harness_generative_adapter"),
)
