"""`lab-maths`: a small language model that solves counting stories in several styles, and the task it is tested on."""

from __future__ import annotations

from collections.abc import Mapping

from harness import hookimpl
from harness.api import Command


@hookimpl
def harness_tasks() -> Mapping[str, str]:
    return {"lab-maths": "harness_lab_maths.maths_task:LabMaths"}


@hookimpl
def harness_models() -> Mapping[str, str]:
    return {"lab-maths": "harness_lab_maths.maths_model:LabMathsModel"}


@hookimpl
def harness_commands() -> Mapping[str, Command]:
    return {"lab-maths": Command("harness_lab_maths.cli:app", "the embedded model of reasoning: train it, measure it")}
