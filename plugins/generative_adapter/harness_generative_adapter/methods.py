"""The method ``generative-adapter``."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from types import MappingProxyType

from harness.api import Method

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
    presets=MappingProxyType(
        {
            file.name.removesuffix(".toml"): tomllib.loads(file.read_text("utf-8"))
            for file in files("harness_generative_adapter").joinpath("presets").iterdir()
            if file.name.endswith(".toml")
        }
    ),
)
