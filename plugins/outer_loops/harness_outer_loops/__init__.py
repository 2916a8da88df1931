"""Outer loops beside ReST-EM (RLOO, GRPO, DPO), less noisy rewards than a trial, and what a reward is worth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from harness import hookimpl
from harness.api import Command

if TYPE_CHECKING:
    from harness.events import RoundFinished


@hookimpl
def harness_methods() -> Mapping[str, str]:
    return {
        "seal-rloo": "harness_outer_loops.methods:SEAL_RLOO",
        "seal-grpo": "harness_outer_loops.methods:SEAL_GRPO",
        "seal-dpo": "harness_outer_loops.methods:SEAL_DPO",
        "seal-probability": "harness_outer_loops.methods:SEAL_PROBABILITY",
        "seal-settings": "harness_outer_loops.methods:SEAL_SETTINGS",
    }


@hookimpl
def harness_editors() -> Mapping[str, str]:
    return {"implications-and-settings": "harness_outer_loops.choices:ChoosesSettings"}


@hookimpl
def harness_trainers() -> Mapping[str, str]:
    return {
        "rloo": "harness_outer_loops.loops:RlooLoop",
        "grpo": "harness_outer_loops.loops:GrpoLoop",
        "dpo": "harness_outer_loops.loops:DpoLoop",
        "guarded": "harness_outer_loops.guarded:Guarded",
        "reward-report": "harness_outer_loops.report:RewardReport",
    }


@hookimpl
def harness_rewards() -> Mapping[str, str]:
    return {
        "trial-probability": "harness_outer_loops.trials:TrialProbability",
        "screen": "harness_outer_loops.screen:Screen",
        "screen-then-trial": "harness_outer_loops.screen:ScreenThenTrial",
    }


@hookimpl
def harness_evaluators() -> Mapping[str, str]:
    return {"answer-probability": "harness_outer_loops.probability:AnswerProbability"}


@hookimpl
def harness_commands() -> Mapping[str, Command]:
    return {
        "reward-report": Command("harness_outer_loops.cli:command", "measure what a reward is worth, and what it costs")
    }


@hookimpl
def harness_round_finished(event: RoundFinished) -> None:
    """Keep what each round measured in the run's folder; the report of a reward in a file of its own."""
    metrics = dict(event.round.metrics)
    report = metrics.pop("reward_report", None)
    if report is not None:
        text = json.dumps(report, indent=1) + "\n"
        (event.folder / "reward-report.json").write_text(text, encoding="utf-8")
        return
    folder = event.folder / "rounds"
    folder.mkdir(exist_ok=True)
    name = f"{event.method}-seed-{event.seed}-round-{event.round.index + 1}.json"
    text = json.dumps({"validation": event.validation, **metrics}, indent=1) + "\n"
    (folder / name).write_text(text, encoding="utf-8")
