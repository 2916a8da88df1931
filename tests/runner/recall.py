"""A plugin in one file: an updater that keeps the last few contexts in memory and forgets the others, to the letter."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness import hookimpl
from harness.api import (
    Ask,
    EditAsk,
    Editor,
    Evaluator,
    Example,
    Method,
    References,
    Score,
    SelfEdit,
    Session,
    State,
    Updated,
    UpdateJob,
    Updater,
)
from harness.books.store import WeightStore
from harness.testing import ScriptedLM

NAMES = [f"{kind}{number}" for number in range(12) for kind in ("cats", "dogs")]
SEEN: list[tuple[str, tuple[str, ...]]] = []
"""(job, episodes of its earlier edits) of every update that was made."""


class Talks(ScriptedLM):
    """Goes on with whatever it is given."""

    def __init__(self, weights: WeightStore) -> None:
        super().__init__(lambda request, index: "and so on", name="talks")

    def hidden(self, asks: Sequence[tuple[State, str]], /, **_: Any) -> list[list[float]]:
        """How often a text names each animal."""
        return [[float(re.findall(r"\w+", text).count(name)) for name in NAMES] for _, text in asks]


class Restate(Editor):
    """One edit per context, none for those whose number ends in ``skip``."""

    @dataclass(frozen=True)
    class Settings:
        skip: str = "none"

    def __init__(self, settings: Settings) -> None:
        self._skip = settings.skip

    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Sequence[Sequence[SelfEdit]]:
        return [
            [] if one.episode.id.endswith(self._skip) else
            [SelfEdit(f"{one.episode.id}/0", one.episode.id, (Example("", f"{one.episode.id} {one.state.memory}"),))]
            for one in asks
        ]  # fmt: skip


@dataclass(frozen=True)
class ShelfSettings:
    room: int = 99
    fails: str = "none"


class Shelf(Updater):
    """Puts the edits' episodes on a shelf that has room for so many, the latest last.

    With an episode (or ``all``) in the environment's ``SHELF_BREAKS``, its updates are errors.
    """

    Settings = ShelfSettings
    accepts = frozenset({Example})

    def __init__(self, settings: ShelfSettings) -> None:
        self._settings = settings

    def apply(self, jobs: Sequence[UpdateJob], s: Session, /) -> Iterator[Updated]:
        broken = os.environ.get("SHELF_BREAKS", "")
        for job in jobs:
            SEEN.append((job.id, tuple(edit.episode for edit in job.earlier)))
            if any(broken in (edit.episode, "all") for edit in job.edits):
                yield Updated(job.id, None, "error", "the shelf broke")
            elif any(edit.episode.endswith(self._settings.fails) for edit in job.edits):
                yield Updated(job.id, None, "failed", "no such shelf")
            else:
                known = [*job.start.memory.get("known", []), *(edit.episode for edit in job.edits)]
                memory = {"known": known[-self._settings.room :]}
                yield Updated(job.id, replace(job.start, memory=memory), log={"steps": 3, "tokens": 10})


class Rehearsing(Shelf):
    """The same, and it is told what was learnt before."""

    rehearses = True


class Recall(Evaluator):
    """Right where the episode is on the shelf; the answer's log-probability is its place from the end."""

    metric = "recall"

    def evaluate(
        self, asks: Sequence[Ask], references: Mapping[str, References], s: Session, /
    ) -> Iterator[Sequence[Score]]:
        for ask in asks:
            known = list(ask.state.memory.get("known", []))[::-1]
            place = known.index(ask.episode.id) if ask.episode.id in known else 9
            yield [
                Score(ask.episode.id, query.id, float(place < 9), measures={"logprob": -float(place)})
                for query in ask.episode.queries
            ]


METHOD = Method(
    "recall",
    "",
    "a shelf",
    {
        "editor": {"use": "restate"},
        "updater": {"use": "shelf"},
        "evaluator": {"use": "recall"},
        "trainer": {"use": "none"},
    },
    protocol="sequence",
    presets={"talks": {"task": {"use": "animals"}}},
)
NOTHING = replace(METHOD, name="nothing", components={k: v for k, v in METHOD.components.items() if k != "editor"})


@hookimpl
def harness_methods() -> Mapping[str, Method]:
    return {"recall": METHOD, "nothing": NOTHING}


@hookimpl
def harness_models() -> Mapping[str, str]:
    return {"talks": "recall:Talks"}


@hookimpl
def harness_editors() -> Mapping[str, str]:
    return {"restate": "recall:Restate"}


@hookimpl
def harness_updaters() -> Mapping[str, str]:
    return {"shelf": "recall:Shelf", "rehearsing": "recall:Rehearsing"}


@hookimpl
def harness_evaluators() -> Mapping[str, str]:
    return {"recall": "recall:Recall"}
