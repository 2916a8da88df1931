"""The lab: a small language model that ships with the harness, and the generated world it is tested on."""

from __future__ import annotations

from collections.abc import Mapping

from harness import hookimpl
from harness.api import Command


@hookimpl
def harness_tasks() -> Mapping[str, str]:
    return {
        "lab-facts": "harness_lab.facts_task:LabFacts",
        "lab-documents": "harness_lab.documents_task:LabDocuments",
        "lab-known": "harness_lab.known_task:LabKnown",
        "lab-grids": "harness_lab.grids_task:LabGrids",
    }


@hookimpl
def harness_models() -> Mapping[str, str]:
    return {"lab": "harness_lab.lab_model:LabModel"}


@hookimpl
def harness_defaults() -> Mapping[str, str]:
    return {"model": "lab"}


@hookimpl
def harness_commands() -> Mapping[str, Command]:
    return {"lab": Command("harness_lab.cli:app", "the embedded model: train it, measure it")}
