"""Models that judge themselves: Self-Rewarding, Meta-Rewarding and ALMA, on the parts that they share."""

from __future__ import annotations

from collections.abc import Mapping

from harness import hookimpl


@hookimpl
def harness_methods() -> Mapping[str, str]:
    return {
        "self-rewarding": "harness_self_judging.methods:SELF_REWARDING",
        "self-rewarding-sft": "harness_self_judging.methods:SELF_REWARDING_SFT",
        "self-rewarding-random": "harness_self_judging.methods:SELF_REWARDING_RANDOM",
        "self-rewarding-oracle": "harness_self_judging.methods:SELF_REWARDING_ORACLE",
        "meta-rewarding": "harness_self_judging.methods:META_REWARDING",
        "alma": "harness_self_judging.methods:ALMA",
        "alma-integer": "harness_self_judging.methods:ALMA_INTEGER",
        "alma-going-on": "harness_self_judging.methods:ALMA_GOING_ON",
        "alma-random": "harness_self_judging.methods:ALMA_RANDOM",
        "alma-oracle": "harness_self_judging.methods:ALMA_ORACLE",
    }


@hookimpl
def harness_trainers() -> Mapping[str, str]:
    return {
        "self-rewarding": "harness_self_judging.rewarding:SelfRewarding",
        "meta-rewarding": "harness_self_judging.rewarding:MetaRewarding",
        "alma": "harness_self_judging.alma:Alma",
    }


@hookimpl
def harness_evaluators() -> Mapping[str, str]:
    return {"self-judged": "harness_self_judging.evaluator:SelfJudged"}
