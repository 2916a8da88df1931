"""Tasks of EleutherAI's lm-evaluation-harness, put to any state; and any run's policy, put to its command line."""

from __future__ import annotations

from collections.abc import Mapping

from harness import hookimpl
from harness.api import Command


@hookimpl
def harness_tasks() -> Mapping[str, str]:
    return {"lm-eval": "harness_lm_eval.task:LmEvalTask"}


@hookimpl
def harness_evaluators() -> Mapping[str, str]:
    return {"lm-eval": "harness_lm_eval.evaluator:LmEval"}


@hookimpl
def harness_commands() -> Mapping[str, Command]:
    return {
        "lm-eval": Command("harness_lm_eval.cli:command", "lm-evaluation-harness, which also knows `harness` models")
    }
