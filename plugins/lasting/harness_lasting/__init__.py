"""Learning that lasts: edits learnt one after another, and what keeps the earlier ones."""

from __future__ import annotations

from collections.abc import Mapping

from harness import hookimpl


@hookimpl
def harness_methods() -> Mapping[str, str]:
    from harness_lasting.methods import NAMES

    return {name: f"harness_lasting.methods:{attribute}" for name, attribute in NAMES.items()}


@hookimpl
def harness_updaters() -> Mapping[str, str]:
    return {"retain": "harness_lasting.retain:Retain", "osf": "harness_lasting.osf:Osf"}


@hookimpl
def harness_rewards() -> Mapping[str, str]:
    return {"retention": "harness_lasting.retention:Retention"}
