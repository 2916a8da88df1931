"""Ways of reading a passage: distilling it from the model that has it in view, active reading, and a skill vector."""

from __future__ import annotations

from collections.abc import Mapping

from harness import hookimpl


@hookimpl
def harness_methods() -> Mapping[str, str]:
    from harness_reading.methods import NAMES

    return {name: f"harness_reading.methods:{attribute}" for name, attribute in NAMES.items()}


@hookimpl
def harness_editors() -> Mapping[str, str]:
    return {
        "distilled": "harness_reading.distilled:Distilled",
        "active-reading": "harness_reading.active:ActiveReading",
    }


@hookimpl
def harness_updaters() -> Mapping[str, str]:
    return {
        "on-policy": "harness_reading.on_policy:OnPolicy",
        "with-skill": "harness_reading.skill:WithSkill",
    }


@hookimpl
def harness_trainers() -> Mapping[str, str]:
    return {"past": "harness_reading.past:Past"}
