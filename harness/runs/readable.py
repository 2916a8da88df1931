"""Whether a model can read the task at all: a score of 0 everywhere is no finding where its words are unknown to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness import reads
from harness.api import State
from harness.session.context import RunContext

_SAMPLE = 8
"""Test contexts that are looked at."""


def unreadable(context: RunContext, base: str) -> str:
    """Why the run's texts mean nothing to a model, as one line; "" where they do."""
    texts = []
    for episode in context.episodes.split("test", _SAMPLE):
        texts += [*_texts(episode.context), *(query.text for query in episode.queries)]
    said: str = reads.call(context.readers[base], lambda: context.models[base].cannot_read(texts))
    return said


def note(context: RunContext, state: State) -> list[str]:
    """The same as the note on a row that the state was asked for."""
    said = unreadable(context, state.base)
    return [said] if said else []


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(item)
