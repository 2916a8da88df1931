"""Notes about a passage, and a reward that needs no inner update: how much of the passage the notes cover."""

from __future__ import annotations

from collections.abc import Mapping

from harness import hookimpl

HARNESS_API = 2


@hookimpl
def harness_editors() -> Mapping[str, str]:
    return {"notes": "harness_notes.editor:Notes"}


@hookimpl
def harness_rewards() -> Mapping[str, str]:
    return {"coverage": "harness_notes.reward:Coverage"}
