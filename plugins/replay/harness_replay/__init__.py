"""Published results, replayed: SEAL's logs (arXiv 2506.10943) as runs, and their recorded self-edits as an editor."""

from __future__ import annotations

from collections.abc import Mapping

from harness import hookimpl
from harness.api import Command, Method


@hookimpl
def harness_editors() -> Mapping[str, str]:
    return {"recorded": "harness_replay.editor:Recorded"}


@hookimpl
def harness_methods() -> Mapping[str, Method]:
    return {
        "recorded": Method(
            name="recorded",
            paper="arXiv:2506.10943",
            summary="recorded self-edits, applied and tested again: any updater, model or evaluator on the same edits",
            components={
                "editor": {"use": "recorded"},
                "updater": {"use": "lora"},
                "evaluator": {"use": "closed-book"},
                "trainer": {"use": "none"},
            },
            needs=frozenset({"generate", "train"}),
            beside=("none",),
            # The recorded edits are about SQuAD's passages: with --data and --edits-like settings as in the README.
            presets={"quick": {"limit": 20, "seeds": 1, "task": {"use": "squad"}}},
        )
    }


@hookimpl
def harness_commands() -> Mapping[str, Command]:
    return {
        "replay": Command("harness_replay.cli:app", "recompute published logs"),
        "reproduce": Command("harness_replay.reproduce.cli:command", "run a published table again, row by row"),
    }
