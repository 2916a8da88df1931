"""SEAL with a judge's rubric in place of the inner loop (arXiv 2506.10943, second version, appendix)."""

from __future__ import annotations

from collections.abc import Mapping

from harness import hookimpl


@hookimpl
def harness_methods() -> Mapping[str, str]:
    return {"proxy-reward": "harness_proxy_reward.methods:PROXY_REWARD"}


@hookimpl
def harness_rewards() -> Mapping[str, str]:
    return {
        "rubric": "harness_proxy_reward.judged:Rubric",
        "rubric-offline": "harness_proxy_reward.offline:OfflineRubric",
        "own-questions": "harness_proxy_reward.own_questions:OwnQuestions",
        "beside-trial": "harness_proxy_reward.agreement:BesideTrial",
    }
