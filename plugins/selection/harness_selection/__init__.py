"""Search, selection and evolving tasks: ICM, SimPLE, DaaR and Evol-Instruct with the FOBAR check."""

from __future__ import annotations

from collections.abc import Mapping

from harness import hookimpl


@hookimpl
def harness_methods() -> Mapping[str, str]:
    return {
        "icm": "harness_selection.methods:ICM",
        "icm-zero-shot": "harness_selection.methods:ICM_ZERO_SHOT",
        "icm-random": "harness_selection.methods:ICM_RANDOM",
        "icm-oracle": "harness_selection.methods:ICM_ORACLE",
    }


@hookimpl
def harness_trainers() -> Mapping[str, str]:
    return {
        "icm": "harness_selection.icm:Icm",
    }


@hookimpl
def harness_tasks() -> Mapping[str, str]:
    return {
        "lab-claims": "harness_selection.claims:LabClaims",
    }
