"""Learning without labels: LMSI, TTRL, EVOL-RL and R-Zero, on the parts that they share."""

from __future__ import annotations

from collections.abc import Mapping

from harness import hookimpl


@hookimpl
def harness_methods() -> Mapping[str, str]:
    return {
        "untrained": "harness_label_free.methods:UNTRAINED",
        "lmsi": "harness_label_free.methods:LMSI",
        "lmsi-random": "harness_label_free.methods:LMSI_RANDOM",
        "lmsi-oracle": "harness_label_free.methods:LMSI_ORACLE",
        "ttrl": "harness_label_free.methods:TTRL",
        "ttrl-inductive": "harness_label_free.methods:TTRL_INDUCTIVE",
        "ttrl-random": "harness_label_free.methods:TTRL_RANDOM",
        "ttrl-oracle": "harness_label_free.methods:TTRL_ORACLE",
        "evol-rl": "harness_label_free.methods:EVOL_RL",
        "r-zero": "harness_label_free.methods:R_ZERO",
    }


@hookimpl
def harness_trainers() -> Mapping[str, str]:
    return {
        "lmsi": "harness_label_free.lmsi:Lmsi",
        "ttrl": "harness_label_free.ttrl:Ttrl",
        "evol-rl": "harness_label_free.evol_rl:EvolRl",
        "r-zero": "harness_label_free.r_zero:RZero",
    }
