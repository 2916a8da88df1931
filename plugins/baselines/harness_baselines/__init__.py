"""The controls to compare a method with: no update, the passage alone, the passage in the prompt, and others."""

from __future__ import annotations

from collections.abc import Mapping

from harness import hookimpl


@hookimpl
def harness_methods() -> Mapping[str, str]:
    return {
        "none": "harness_baselines.methods:NONE",
        "passage": "harness_baselines.methods:PASSAGE",
        "passage-repeat": "harness_baselines.methods:PASSAGE_REPEAT",
        "icl": "harness_baselines.methods:ICL",
        "other-edits": "harness_baselines.methods:OTHER_EDITS",
        "passage-repeat-tokens": "harness_baselines.methods:PASSAGE_REPEAT_TOKENS",
        "rag": "harness_baselines.methods:RAG",
        "arc-icl": "harness_baselines.arc:ICL",
        "arc-ttt-no-rl": "harness_baselines.arc:TTT_NO_RL",
        "arc-oracle-ttt": "harness_baselines.arc:ORACLE_TTT",
    }


@hookimpl
def harness_editors() -> Mapping[str, str]:
    return {
        "passage": "harness_baselines.editors:Passage",
        "passage-repeat": "harness_baselines.editors:PassageRepeat",
        "at-hand": "harness_baselines.editors:AtHand",
        "other-edits": "harness_baselines.other_edits:OtherEdits",
        "passage-repeat-tokens": "harness_baselines.token_matched:PassageRepeatTokens",
        "fixed-ttt": "harness_baselines.arc:FixedTtt",
    }


@hookimpl
def harness_evaluators() -> Mapping[str, str]:
    return {"rag": "harness_baselines.rag:Rag", "open-book": "harness_baselines.open_book:OpenBook"}
