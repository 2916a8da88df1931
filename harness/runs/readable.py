"""Whether a model can read the task at all: a score of 0 says nothing where the task's words are unknown to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness import reads
from harness.api import State
from harness.session.context import RunContext

_SAMPLE = 8
"""Number of test contexts that are checked."""


def unreadable(context: RunContext, base: str) -> str:
    """Why a model cannot read the run's texts, as one line; "" where it can."""
    texts = []
    for episode in context.episodes.split("test", _SAMPLE):
        texts += [*_texts(episode.context), *(query.text for query in episode.queries)]
    why: str = reads.call(context.readers[base], lambda: context.models[base].cannot_read(texts))
    return why


def note(context: RunContext, state: State) -> list[str]:
    """A note on the row of a state whose model cannot read the run's texts; empty where it can."""
    why = unreadable(context, state.base)
    return [why] if why else []


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(item)
