"""The playbook: bullets with counters, changed by small deterministic operations, and never larger than its budget.

It is what :attr:`harness.api.State.memory` holds under ``playbook``: ``{"text", "version", "next", "bullets"}``. A task
shows ``text`` and nothing else of it. Pure functions: the same book and the same operations give the same book.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

KEY = "playbook"


@dataclass(frozen=True)
class Bullet:
    """One entry."""

    id: str
    section: str
    text: str
    helpful: int = 0
    harmful: int = 0
    about: str = ""
    """What it is about, where only one bullet on a subject can be followed; "" where all can."""

    @property
    def worth(self) -> int:
        return self.helpful - self.harmful


@dataclass(frozen=True)
class Add:
    """The one operation of a delta that is applied (the released code accepts others and ignores them)."""

    section: str
    text: str
    about: str = ""


@dataclass(frozen=True)
class Playbook:
    """Bullets in the order in which they were added."""

    bullets: tuple[Bullet, ...] = ()
    version: int = 0
    """Changes so far."""
    next: int = 1
    """Number of the next bullet; a number is never used twice."""

    def tagged(self, tags: Mapping[str, int]) -> Playbook:
        """With counters changed: bullet id -> +1 for helpful, -1 for harmful; unknown ids and zeros are ignored."""
        return replace(
            self,
            bullets=tuple(
                replace(one, helpful=one.helpful + (tag > 0), harmful=one.harmful + (tag < 0))
                if (tag := tags.get(one.id, 0))
                else one
                for one in self.bullets
            ),
        )

    def added(self, adds: Iterable[Add]) -> Playbook:
        """With new bullets at the end, counters at 0. One that says the same as another is not added again."""
        book = self
        for add in adds:
            text = " ".join(add.text.split())
            if text and _same(text) not in {_same(one.text) for one in book.bullets}:
                new = Bullet(f"b{book.next}", add.section, text, about=add.about)
                book = replace(book, bullets=(*book.bullets, new), next=book.next + 1)
        return book

    def within(self, budget: int) -> Playbook:
        """With no more than so many words: the least worthy bullets go first, of equals the oldest."""
        kept = list(self.bullets)
        order = sorted(kept, key=lambda one: (one.worth, int(one.id[1:])))
        for worst in order:
            if words(kept) <= budget:
                break
            kept.remove(worst)
        return replace(self, bullets=tuple(kept))

    def shown(self) -> tuple[Bullet, ...]:
        """The bullets that are shown: all, but of several about one subject the worthiest, of equals the oldest."""
        best: dict[str, Bullet] = {}
        for one in self.bullets:
            if one.about and (one.about not in best or one.worth > best[one.about].worth):
                best[one.about] = one
        return tuple(one for one in self.bullets if not one.about or best[one.about] is one)

    def as_json(self, text: str) -> dict[str, Any]:
        """What memory holds.

        Args:
            text: what the task shows.
        """
        return {"text": text, "version": self.version, "next": self.next, "bullets": [asdict(b) for b in self.bullets]}


def playbook_of(memory: Mapping[str, Any]) -> Playbook:
    """The playbook of a memory; an empty one where there is none."""
    found = memory.get(KEY)
    if not found:
        return Playbook()
    return Playbook(tuple(Bullet(**one) for one in found["bullets"]), found["version"], found["next"])


def words(bullets: Sequence[Bullet]) -> int:
    """The size of a playbook: words of its texts."""
    return sum(len(one.text.split()) for one in bullets)


def _same(text: str) -> str:
    return text.casefold().rstrip(".! ")


@dataclass
class Tally:
    """What a stretch of learning did, for the records."""

    counts: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, by: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + by
