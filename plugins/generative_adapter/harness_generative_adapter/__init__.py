"""Generative adapter (arXiv 2411.05877): a trained generator turns a text into weight changes in one forward pass."""

from __future__ import annotations

from collections.abc import Mapping

from harness import hookimpl


@hookimpl
def harness_methods() -> Mapping[str, str]:
    return {"generative-adapter": "harness_generative_adapter.methods:GENERATIVE_ADAPTER"}


@hookimpl
def harness_updaters() -> Mapping[str, str]:
    return {"generated": "harness_generative_adapter.updater:Generated"}
