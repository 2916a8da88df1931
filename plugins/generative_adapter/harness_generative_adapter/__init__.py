"""Generative adapter (arXiv 2411.05877): a trained generator turns a text into weight changes in one forward pass."""

from __future__ import annotations

from collections.abc import Mapping

from harness import hookimpl
from harness.api import Command


@hookimpl
def harness_methods() -> Mapping[str, str]:
    return {"generative-adapter": "harness_generative_adapter.methods:GENERATIVE_ADAPTER"}


@hookimpl
def harness_updaters() -> Mapping[str, str]:
    return {"generated": "harness_generative_adapter.updater:Generated"}


@hookimpl
def harness_commands() -> Mapping[str, Command]:
    return {
        "adapter": Command("harness_generative_adapter.cli:app", "train the generator of the method generative-adapter")
    }
