"""Agentic context engineering (ACE, arXiv 2510.04618): a playbook in the prompt that grows by small changes."""

from __future__ import annotations

from collections.abc import Mapping

from harness import hookimpl


@hookimpl
def harness_methods() -> Mapping[str, str]:
    return {
        "ace": "harness_ace.methods:ACE",
        "ace-hidden": "harness_ace.methods:HIDDEN",
        "ace-rewrite": "harness_ace.methods:REWRITE",
        "ace-online": "harness_ace.methods:ONLINE",
        "ace-online-hidden": "harness_ace.methods:ONLINE_HIDDEN",
    }


@hookimpl
def harness_trainers() -> Mapping[str, str]:
    return {"ace": "harness_ace.offline:Offline"}


@hookimpl
def harness_protocols() -> Mapping[str, str]:
    return {"ace-online": "harness_ace.online:Online"}
