"""The curriculum: what has been studied, how well it is known, and what comes next."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from harness.api import JSON

_WORD = re.compile(r"\w+")
_LISTED = re.compile(r"^\s*(?:[-*•]|\(?\d+[.):])\s*")
_EMPTY = frozenset({"the", "a", "an", "of", "and", "in", "on"})


@dataclass
class Topic:
    """One topic of the curriculum."""

    name: str
    words: frozenset[str]
    studied: list[int] = field(default_factory=list)
    """Rounds in which it was studied."""
    right: float = 0.0
    """Share of its last exam that was right."""
    mastered: bool = False


class Memory:
    """All topics, in the order in which they were proposed.

    Args:
        overlap: a proposal is the same topic as an earlier one if they share at least this part of the shorter one's
            words, without articles and prepositions.
        mastery: share of an exam that must be right for a topic to be mastered.
        attempts: rounds after which a topic that is not mastered is set aside.
    """

    def __init__(self, overlap: float, mastery: float, attempts: int) -> None:
        self._overlap, self._mastery, self._attempts = overlap, mastery, attempts
        self.topics: list[Topic] = []
        self.repeated = 0
        """Proposals that were topics already."""

    def propose(self, names: Iterable[str]) -> list[Topic]:
        """Add what is new; a name without a word in it is none."""
        new = []
        for name in names:
            words = frozenset(word for word in _WORD.findall(name.casefold()) if word not in _EMPTY)
            if not words:
                continue
            if any(self._same(words, topic.words) for topic in self.topics):
                self.repeated += 1
                continue
            new.append(Topic(name, words))
            self.topics.append(new[-1])
        return new

    def due(self, count: int) -> list[Topic]:
        """What to study next: topics that were not mastered before new ones, and none that is mastered or set aside."""
        open_ = [topic for topic in self.topics if not topic.mastered and len(topic.studied) < self._attempts]
        return sorted(open_, key=lambda topic: not topic.studied)[:count]

    def note(self, topic: Topic, marks: Sequence[bool], round_: int) -> None:
        """Enter the marks of a topic's exam; one without any is not mastered."""
        topic.studied.append(round_)
        topic.right = sum(marks) / len(marks) if marks else 0.0
        topic.mastered = bool(marks) and topic.right >= self._mastery

    def mastered(self) -> list[Topic]:
        """Topics that are known."""
        return [topic for topic in self.topics if topic.mastered]

    def aside(self) -> list[Topic]:
        """Topics that were given up."""
        return [topic for topic in self.topics if not topic.mastered and len(topic.studied) >= self._attempts]

    def record(self) -> JSON:
        """The whole memory as plain JSON."""
        return {
            "topics": [
                {"name": one.name, "studied": list(one.studied), "right": one.right, "mastered": one.mastered}
                for one in self.topics
            ],
            "repeated": self.repeated,
        }

    def _same(self, a: frozenset[str], b: frozenset[str]) -> bool:
        return len(a & b) >= self._overlap * min(len(a), len(b))


def listed(text: str) -> list[str]:
    """The entries of a list that a model wrote, one per line, without bullets and numbers."""
    found = (_LISTED.sub("", line).strip().strip("\"'.") for line in text.splitlines())
    return [line for line in found if line]


def about(topic: Topic, text: str) -> bool:
    """Whether a text names the topic: all its words, whole."""
    return topic.words <= frozenset(_WORD.findall(text.casefold()))
