"""EntiGraph (Synthetic Continued Pretraining, arXiv 2409.07431): texts about how a document's entities relate."""

from __future__ import annotations

from collections.abc import Mapping

from harness import hookimpl
from harness.api import Command


@hookimpl
def harness_methods() -> Mapping[str, str]:
    return {
        "entigraph": "harness_entigraph.methods:PAIRS",
        "entigraph-triples": "harness_entigraph.methods:TRIPLES",
        "entigraph-triples-matched": "harness_entigraph.methods:TRIPLES_MATCHED",
    }


@hookimpl
def harness_editors() -> Mapping[str, str]:
    return {"entigraph": "harness_entigraph.editor:EntiGraph"}


@hookimpl
def harness_updaters() -> Mapping[str, str]:
    return {"with-replay": "harness_entigraph.replay:WithReplay"}


@hookimpl
def harness_commands() -> Mapping[str, Command]:
    return {"entigraph-scaling": Command("harness_entigraph.cli:command", "score against synthetic tokens")}
