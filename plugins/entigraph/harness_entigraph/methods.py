"""The two published variants, and triples with the token budget of pairs."""

from __future__ import annotations

from dataclasses import replace

from harness.api import Method
from harness.registry.presets import presets

_PRESETS = presets("harness_entigraph")

PAIRS = Method(
    name="entigraph",
    paper="arXiv 2409.07431, section 2.2 (pairs)",
    summary="writes about how pairs of a passage's entities relate, and learns these texts",
    components={
        "editor": {"use": "entigraph"},
        "updater": {"use": "lora"},
        "trainer": {"use": "none"},
        "evaluator": {"use": "closed-book"},
    },
    needs=frozenset({"generate"}),
    beside=("none", "passage", "seal-no-rl"),
    presets=_PRESETS,
)

TRIPLES = replace(
    PAIRS,
    name="entigraph-triples",
    paper="arXiv 2409.07431, section 2.2 (pairs and triples)",
    summary="writes about pairs and triples of a passage's entities, and learns these texts",
    components={**PAIRS.components, "editor": {"use": "entigraph", "triples": 5}},
    beside=("none", "passage", "entigraph", "entigraph-triples-matched"),
)

TRIPLES_MATCHED = replace(
    TRIPLES,
    name="entigraph-triples-matched",
    paper="",
    summary="pairs and triples by turns, cut to the tokens that pairs alone have: triples without more text",
    components={**PAIRS.components, "editor": {"use": "entigraph", "triples": 5, "match_pairs": True}},
    beside=("none", "passage", "entigraph", "entigraph-triples"),
)
