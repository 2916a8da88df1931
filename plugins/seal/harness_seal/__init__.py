"""SEAL (Self-Adapting Language Models, arXiv 2506.10943): a model is trained to write its own training data."""

from __future__ import annotations

from collections.abc import Mapping

from harness import hookimpl


@hookimpl
def harness_methods() -> Mapping[str, str]:
    return {
        "seal": "harness_seal.methods:SEAL",
        "seal-no-rl": "harness_seal.methods:SEAL_NO_RL",
        "seal-arc": "harness_seal.arc.methods:SEAL_ARC",
    }


@hookimpl
def harness_defaults() -> Mapping[str, str]:
    return {
        "method": "seal",
        "host": "harness_seal.methods:HOST",
        "host_with_loop": "harness_seal.methods:HOST_WITH_LOOP",
    }


@hookimpl
def harness_editors() -> Mapping[str, str]:
    return {
        "prompted": "harness_seal.editors:Prompted",
        "implications": "harness_seal.editors:Implications",
        "implications-long": "harness_seal.editors:ImplicationsLong",
        "implications-very-long": "harness_seal.editors:ImplicationsVeryLong",
        "rewrite": "harness_seal.editors:Rewrite",
        "self-qa": "harness_seal.editors:SelfQa",
        "implications-chain-of-thought": "harness_seal.editors:ImplicationsChainOfThought",
        "no-prompt": "harness_seal.editors:NoPrompt",
        "arc-config": "harness_seal.arc.editor:ArcConfig",
    }


@hookimpl
def harness_rewards() -> Mapping[str, str]:
    return {"trial": "harness_seal.trial:Trial"}


@hookimpl
def harness_trainers() -> Mapping[str, str]:
    return {"restem": "harness_seal.restem:RestEM"}
