"""The methods, their controls at equal budget, and presets from data files named ``PRESET.METHOD.toml``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from harness.api import JSON, Method
from harness.registry.presets import presets_of


def _method(name: str, paper: str, summary: str, editor: JSON, beside: tuple[str, ...], **more: Any) -> Method:
    components: dict[str, Any] = {
        "editor": editor,
        "updater": {"use": "lora"},
        "trainer": {"use": "none"},
        "evaluator": {"use": "closed-book"},
    }
    return Method(
        name=name,
        paper=paper,
        summary=summary,
        components=components,
        needs=frozenset({"generate", "train"}),
        beside=beside,
        presets=presets_of("harness_reading", name, more.get("like", "context-distill")),
    )


_SELF_QA: JSON = {"use": "self-qa"}
_PROMPT_DISTILLATION = "arXiv 2412.14964"

SELF_QA = _method(
    "self-qa",
    "arXiv 2506.10943, appendix B",
    "SEAL's questions with answers, learnt as they were written: what context distillation is measured against",
    _SELF_QA,
    ("none", "passage"),
)
CONTEXT_DISTILL = _method(
    "context-distill",
    _PROMPT_DISTILLATION,
    "asks itself questions about the passage, and learns without it what it answers with it in view",
    {"use": "distilled", "inner": _SELF_QA},
    ("none", "self-qa", "context-distill-tokens", "context-distill-text"),
)
TOKENS = _method(
    "context-distill-tokens",
    "",
    "control: the same questions and answers under the same prompts, learnt as written, without a teacher",
    {"use": "distilled", "inner": _SELF_QA, "learn": "tokens"},
    ("none", "self-qa"),
)
TEXT = _method(
    "context-distill-text",
    "arXiv 2209.15189",
    "learns the text of its own edit from what it says of it with the passage in view",
    {"use": "distilled", "inner": _SELF_QA, "of": "sequences"},
    ("none", "self-qa"),
)
SDFT = replace(
    CONTEXT_DISTILL,
    name="sdft",
    paper="arXiv 2601.19897",
    summary="context distillation on the student's own answers, sampled anew as it learns",
    components={**CONTEXT_DISTILL.components, "updater": {"use": "on-policy"}},
    beside=("none", "self-qa", "context-distill"),
    presets=presets_of("harness_reading", "sdft", "context-distill"),
)

ACTIVE_READING = _method(
    "active-reading",
    "arXiv 2508.09494, section 3",
    "thinks of ways to study a passage, writes what each of them gives, and learns all of it",
    {"use": "active-reading"},
    ("none", "passage-repeat", "active-reading-one", "self-qa", "seal-no-rl", "seal"),
    like="active-reading",
)
ONE_WAY = replace(
    ACTIVE_READING,
    name="active-reading-one",
    paper="",
    summary="control: as many texts and sequences as active reading has, all written in its first way",
    components={**ACTIVE_READING.components, "editor": {"use": "active-reading", "one_way": True}},
    beside=("none", "active-reading"),
)

PAST = Method(
    name="past",
    paper="arXiv 2601.11258, section 3",
    summary="adds to every update one skill vector, learnt by reinforcement on top of updates on other passages",
    components={
        "editor": {"use": "implications"},
        "updater": {"use": "with-skill", "inner": {"use": "lora"}},
        "skill": {
            "kind": "updater", "use": "lora", "loss": {"use": "grpo"}, "targets": "all-linear", "rank": 16,
            "alpha": 32.0, "learning_rate": 1e-5, "epochs": 1, "batch_size": 64,
        },
        "graded": {"kind": "evaluator", "use": "sampled", "samples": 8, "max_tokens": 16},
        "trainer": {"use": "past"},
        "evaluator": {"use": "closed-book"},
    },
    roles={"teacher": "model", "student": "model"},
    sees="context+queries",
    needs=frozenset({"generate", "train"}),
    beside=("none", "seal-no-rl", "past-random", "seal"),
    presets=presets_of("harness_reading", "past"),
)  # fmt: skip
PAST_RANDOM = replace(
    PAST,
    name="past-random",
    paper="",
    summary="control: the same steps with every question's rewards dealt to its answers at random",
    components={**PAST.components, "trainer": {"use": "past", "reward": "random"}},
    beside=("none", "seal-no-rl", "past"),
)

NAMES = {
    "self-qa": "SELF_QA",
    "context-distill": "CONTEXT_DISTILL",
    "context-distill-tokens": "TOKENS",
    "context-distill-text": "TEXT",
    "sdft": "SDFT",
    "active-reading": "ACTIVE_READING",
    "active-reading-one": "ONE_WAY",
    "past": "PAST",
    "past-random": "PAST_RANDOM",
}
