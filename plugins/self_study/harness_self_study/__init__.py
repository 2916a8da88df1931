"""Learning from documents without labels: AL and ALAS, on the parts that they share."""

from __future__ import annotations

from collections.abc import Mapping

from harness import hookimpl


@hookimpl
def harness_methods() -> Mapping[str, str]:
    return {
        "al": "harness_self_study.methods:AL",
        "al-dpo": "harness_self_study.methods:AL_DPO",
        "al-random": "harness_self_study.methods:AL_RANDOM",
        "al-oracle": "harness_self_study.methods:AL_ORACLE",
        "alas": "harness_self_study.methods:ALAS",
        "alas-random": "harness_self_study.methods:ALAS_RANDOM",
        "alas-oracle": "harness_self_study.methods:ALAS_ORACLE",
    }


@hookimpl
def harness_trainers() -> Mapping[str, str]:
    return {"al": "harness_self_study.al:Al", "alas": "harness_self_study.alas:Alas"}


@hookimpl
def harness_protocols() -> Mapping[str, str]:
    return {"by-round": "harness_self_study.by_round:ByRound"}
