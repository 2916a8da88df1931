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
        "simple": "harness_selection.methods:SIMPLE",
        "simple-plain": "harness_selection.methods:SIMPLE_PLAIN",
        "simple-voted": "harness_selection.methods:SIMPLE_VOTED",
        "simple-oracle": "harness_selection.methods:SIMPLE_ORACLE",
        "daar": "harness_selection.methods:DAAR",
        "daar-random": "harness_selection.methods:DAAR_RANDOM",
        "daar-all": "harness_selection.methods:DAAR_ALL",
        "evol-instruct": "harness_selection.methods:EVOL_INSTRUCT",
        "evol-instruct-seeds": "harness_selection.methods:EVOL_SEEDS",
        "evol-instruct-unchecked": "harness_selection.methods:EVOL_UNCHECKED",
    }


@hookimpl
def harness_trainers() -> Mapping[str, str]:
    return {
        "icm": "harness_selection.icm:Icm",
        "simple": "harness_selection.simple:Simple",
        "daar": "harness_selection.daar:Daar",
        "evol-instruct": "harness_selection.evolve:EvolInstruct",
    }


@hookimpl
def harness_tasks() -> Mapping[str, str]:
    return {
        "lab-claims": "harness_selection.claims:LabClaims",
        "lab-pool": "harness_selection.pool:LabPool",
    }


@hookimpl
def harness_models() -> Mapping[str, str]:
    return {"encoder": "harness_selection.encoder:Encoder"}
