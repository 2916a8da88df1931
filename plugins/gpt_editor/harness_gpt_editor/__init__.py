"""Self-edits by an outside model: any OpenAI-compatible endpoint writes, the run's own model learns."""

from __future__ import annotations

from collections.abc import Mapping

from harness import hookimpl


@hookimpl
def harness_methods() -> Mapping[str, str]:
    return {"gpt-editor": "harness_gpt_editor.methods:GPT_EDITOR"}


@hookimpl
def harness_editors() -> Mapping[str, str]:
    return {"structured": "harness_gpt_editor.editor:Structured"}


@hookimpl
def harness_models() -> Mapping[str, str]:
    return {"loopback": "harness_gpt_editor.loopback:LoopbackModel"}
