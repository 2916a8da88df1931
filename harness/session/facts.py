"""Facts about a row's session on which its card and its rank depend, and which items its calls used.

A call that is answered from the journal does not run, so whatever happened inside it has to be kept with it: the
journal notes, beside an item, which other items were used on the way (the costs) and what was seen (the facts). So a
row that is resumed, or reused from an earlier run, has the same costs and facts as when it was first made.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from harness.api import Group, Updated
from harness.books.item import WITHIN, Item
from harness.books.records import digest

if TYPE_CHECKING:
    from harness.books.journal import Journal

Kind = Literal["graded", "open_book", "queries", "test", "wrote"]
"""Kinds of facts; their values are texts.

* ``graded``: ids of episodes whose references were used;
* ``open_book``: ids of test contexts whose text was in the prompt or the memory of an answer;
* ``queries``: ids of test episodes whose queries were in a prompt for writing edits;
* ``test``: ids of test episodes whose context or query was asked, prompted or trained on;
* ``wrote``: base digests of the models that wrote edits.
"""


@dataclass
class Frame:
    """One call, and what happened inside it."""

    kind: str
    uses: dict[tuple[str, str], None] = field(default_factory=dict)
    """(phase, digest) of the items that were used."""
    seen: dict[str, dict[str, None]] = field(default_factory=dict)
    """Fact -> its values."""

    def as_json(self) -> dict[str, Any]:
        seen = {kind: sorted(values) for kind, values in sorted(self.seen.items())}
        return {"uses": [list(one) for one in self.uses], "seen": seen}


class Facts:
    """The facts of one row, by stage."""

    def __init__(self, journal: Journal, row: str) -> None:
        self._journal = journal
        self._row = row
        self._frames: list[Frame] = []
        self._seen: dict[tuple[str, str], dict[str, None]] = {}
        self.stage: Literal["outer", "deploy"] = "outer"
        self.outer = OuterLoop()
        self.validating = False
        """Whether the current calls are the core's, which is measuring a round, and not the outer loop's."""

    def seen(self, kind: Kind, stage: str = "") -> list[str]:
        """The values noted of a kind, in one stage or ("") in both."""
        found: dict[str, None] = {}
        for (where, name), values in self._seen.items():
            if name == kind and stage in ("", where):
                found |= values
        return list(found)

    def note(self, kind: str, values: Iterable[str]) -> None:
        """Note a fact, for the row and for every call that is open."""
        new = dict.fromkeys(values)
        if new:
            self._seen.setdefault((self.stage, kind), {}).update(new)
            for frame in self._frames:
                frame.seen.setdefault(kind, {}).update(new)

    def inside(self, kind: str) -> bool:
        """Whether a call of that kind is open."""
        return any(frame.kind == kind for frame in self._frames)

    def use(self, phase: str, digests: Sequence[str]) -> None:
        """Record that the row used these items. Call inside :meth:`Journal.writing`."""
        self._journal.touch(self._row, phase, self.stage, digests)
        for frame in self._frames:
            frame.uses.update(dict.fromkeys((phase, one) for one in digests))

    def put_aside(self) -> list[Frame]:
        """The calls that are open now, for :meth:`take_up`."""
        return list(self._frames)

    def take_up(self, frames: Sequence[Frame]) -> None:
        """Go on with calls that were put aside."""
        self._frames = list(frames)

    @contextmanager
    def frame(self, kind: str) -> Iterator[Frame]:
        """Collect what happens inside."""
        frame = Frame(kind)
        self._frames.append(frame)
        try:
            yield frame
        finally:
            self._frames.pop()

    # --- beside items ---

    def beside(self, frame: Frame, items: Sequence[Item]) -> list[Item]:
        """Note what happened while the items were made, and return them marked. Call inside :meth:`Journal.writing`.

        Items that were made together share one note, for which of them used what cannot be told.
        """
        if not (frame.uses or frame.seen):
            return list(items)
        keys = [item.digest for item in items]
        note = digest([WITHIN, "of", keys])
        self._journal.note(Item(note, WITHIN, "session", "ok", frame.as_json()))
        for key in keys:
            self._journal.note(Item(_pointer(key), WITHIN, "session", "ok", note))
        return [dataclasses.replace(item, cost={**item.cost, WITHIN: 1.0}) for item in items]

    def known(self, items: Mapping[str, Item]) -> dict[str, Item]:
        """The found items that can be used; what happened while they were made is noted again, as if it were now.

        An item whose note is lost is left out, and so made again.
        """
        marked = [key for key, item in items.items() if WITHIN in item.cost]
        pointers = self._journal.find([_pointer(key) for key in marked]) if marked else {}
        names = {key: str(pointers[_pointer(key)].result) for key in marked if _pointer(key) in pointers}
        notes = self._journal.find(list(dict.fromkeys(names.values()))) if names else {}
        lost = {key for key in marked if names.get(key) not in notes}
        uses: dict[tuple[str, str], None] = {}
        for key in dict.fromkeys(names[key] for key in marked if key not in lost):
            result = notes[key].result
            uses |= dict.fromkeys((phase, used) for phase, used in result["uses"])
            for kind, values in result["seen"].items():
                self.note(kind, values)
        self._journal.bring_costs(list(dict.fromkeys(used for _, used in uses)))
        with self._journal.writing():
            for phase in dict.fromkeys(phase for phase, _ in uses):
                self.use(phase, [used for of, used in uses if of == phase])
        return {key: item for key, item in items.items() if key not in lost}


def _pointer(key: str) -> str:
    return digest([WITHIN, key])


@dataclass
class OuterLoop:
    """What the outer loop's own calls came to. Every process of the run makes them again, so nothing is stored."""

    asked: int = 0
    """Edits that were asked for."""
    edits: int = 0
    """Edits that came."""
    rewarded: int = 0
    """Rewards that were asked for."""
    valued: int = 0
    """Rewards that have a value."""
    updated: int = 0
    """Updates that gave a state."""
    lost: list[str] = field(default_factory=list)
    """For each update that gave none, what became of it."""
    of_policy: bool = False
    """Whether one of the lost updates was of a slot that only an outer loop uses."""

    def proposed(self, groups: Sequence[Group]) -> None:
        self.asked += sum(group.ask.n for group in groups)
        self.edits += sum(len(group.edits) for group in groups)

    def scored(self, groups: Sequence[Group]) -> None:
        rewards = [reward for group in groups for reward in group.rewards]
        self.rewarded += len(rewards)
        self.valued += sum(reward.value is not None for reward in rewards)

    def learnt(self, slot: str, results: Sequence[Updated]) -> None:
        self.updated += sum(one.state is not None for one in results)
        lost = [one for one in results if one.state is None]
        for one in lost:
            became = "failed" if one.status == "failed" else "was lost"
            self.lost.append(f"outer update {one.job!r} {became}: {one.reason or 'no reason given'}")
        self.of_policy |= bool(lost) and slot != "updater"

    def faults(self) -> list[str]:
        """Why the measured policy is not the product of the method's training; empty where it is."""
        out = []
        if self.asked and not self.edits:
            out.append("the editor passed over every context of the outer loop")
        if self.rewarded and not self.valued:
            out.append(f"none of the {self.rewarded} rewards of the outer loop has a value")
        if self.lost and (self.of_policy or not self.updated):
            more = f" ({len(self.lost)} such updates)" if len(self.lost) > 1 else ""
            out.append(self.lost[0] + more)
        return out

    def remarks(self) -> list[str]:
        """Notes on the row that are not faults."""
        if self.lost and not self.faults():
            return [f"{self.lost[0]} ({len(self.lost)} of {self.updated + len(self.lost)} updates)"]
        return []
