"""The method ``gpt-editor``."""

from __future__ import annotations

from harness.api import Method
from harness.registry.presets import presets

GPT_EDITOR = Method(
    name="gpt-editor",
    paper="arXiv 2506.10943, section 4 (the GPT-4.1 rows)",
    summary="an outside model writes the implications of a passage, and the run's own model learns them",
    components={
        "editor": {"use": "structured"},
        "updater": {"use": "lora"},
        "trainer": {"use": "none"},
        "evaluator": {"use": "closed-book"},
    },
    roles={"teacher": "openai:gpt-4.1-2025-04-14", "student": "model"},
    outside_teacher=True,
    needs=frozenset({"generate"}),
    beside=("none", "passage", "seal-no-rl", "icl"),
    presets=presets("harness_gpt_editor"),
)
