"""The core's own components, registered through the same hooks as a plugin's."""

from __future__ import annotations

from collections.abc import Mapping

from harness.markers import hookimpl


@hookimpl
def harness_tasks() -> Mapping[str, str]:
    return {"squad": "harness.tasks.squad:Squad", "arc": "harness.tasks.arc:Arc", "file": "harness.tasks.file:FileTask"}


@hookimpl
def harness_models() -> Mapping[str, str]:
    return {
        "hf": "harness.models.hf:HfModel",
        "openai": "harness.models.openai:OpenAIModel",
        "vllm": "harness.models.vllm.model:VllmModel",
    }


@hookimpl
def harness_updaters() -> Mapping[str, str]:
    return {
        "lora": "harness.updaters.lora:Lora",
        "lora-reference": "harness.updaters.lora_reference:LoraReference",
        "full": "harness.updaters.full:Full",
        "memory": "harness.updaters.memory:Memory",
        "none": "harness.updaters.none:NoUpdate",
    }


@hookimpl
def harness_evaluators() -> Mapping[str, str]:
    return {
        "closed-book": "harness.evaluators.closed_book:ClosedBook",
        "answer-probability": "harness.evaluators.answer_probability:AnswerProbability",
        "sampled": "harness.evaluators.sampled:Sampled",
        "grids": "harness.tasks.arc.evaluator:Grids",
    }


@hookimpl
def harness_trainers() -> Mapping[str, str]:
    return {"none": "harness.trainers.none:NoTrainer"}


@hookimpl
def harness_protocols() -> Mapping[str, str]:
    return {
        "single": "harness.runs.protocols.single:Single",
        "cpt": "harness.runs.protocols.cpt:ContinuedPretraining",
        "sequence": "harness.runs.protocols.sequence:SequenceOfEdits",
    }
