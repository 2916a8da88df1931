"""The controls as methods. Each uses the updater, with its settings, of the method that it is run beside."""

from __future__ import annotations

from harness.api import Method

_TESTED = {"trainer": {"use": "none"}, "evaluator": {"use": "closed-book"}}
_QUICK = {"quick": {"limit": 20, "seeds": 1}}
"""A first look with the embedded model, too few contexts to rank anything by."""

NONE = Method(
    name="none",
    paper="",
    summary="the model as it is, never shown the passage",
    components=_TESTED,
    needs=frozenset({"generate"}),
    presets=_QUICK,
)

PASSAGE = Method(
    name="passage",
    paper="arXiv 2506.10943, section 4.1",
    summary="learns the passage itself",
    components={**_TESTED, "editor": {"use": "passage"}, "updater": {"use": "lora"}},
    needs=frozenset({"generate", "train"}),
    beside=("none",),
    presets=_QUICK,
)

PASSAGE_REPEAT = Method(
    name="passage-repeat",
    paper="",
    summary="learns the passage as often as self-edits have sequences: the same optimiser steps, nothing rewritten",
    components={
        **_TESTED,
        "editor": {"use": "passage-repeat", "like": "@editor"},
        "updater": {"use": "lora"},
    },
    needs=frozenset({"generate", "train"}),
    beside=("none", "passage"),
    presets=_QUICK,
)

ICL = Method(
    name="icl",
    paper="arXiv 2506.10943, section 4.1",
    summary="learns nothing and has the passage in the prompt: what open-book answers score",
    components={**_TESTED, "editor": {"use": "at-hand"}, "updater": {"use": "memory"}},
    open_book=True,
    needs=frozenset({"generate"}),
    beside=("none",),
    presets=_QUICK,
)

OTHER_EDITS = Method(
    name="other-edits",
    paper="",
    summary="learns the passage with another passage's self-edits: what is gained is gained by format",
    components={**_TESTED, "editor": {"use": "other-edits", "like": "@editor"}, "updater": {"use": "lora"}},
    needs=frozenset({"generate", "train"}),
    beside=("none", "passage"),
    presets=_QUICK,
)

PASSAGE_REPEAT_TOKENS = Method(
    name="passage-repeat-tokens",
    paper="",
    summary="learns the passage until as many tokens were seen as self-edits have: the same text budget",
    components={**_TESTED, "editor": {"use": "passage-repeat-tokens", "like": "@editor"}, "updater": {"use": "lora"}},
    needs=frozenset({"generate", "train"}),
    beside=("none", "passage"),
    presets=_QUICK,
)

RAG = Method(
    name="rag",
    paper="",
    summary="learns nothing and answers with the passages that BM25 finds for the question in its prompt",
    components={"trainer": {"use": "none"}, "evaluator": {"use": "rag", "inner": "@evaluator"}},
    open_book=True,
    needs=frozenset({"generate"}),
    beside=("none", "icl"),
    presets=_QUICK,
)
