"""ICM's objective and its search (Wen et al. 2025, arXiv 2506.10139, section 2 and algorithm 1). Pure functions.

The labels of a set of items are those that best predict each other, U = alpha * P - I: P is the mean of the items'
signed scores (log-probability of "true" minus that of "false", negative where the label is false), each given the other
labelled items as demonstrations; I is the number of pairs whose labels contradict each other.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Literal

Labels = Mapping[int, bool]
"""Item -> its label; items without one are not in it."""
Demonstrations = tuple[tuple[int, bool], ...]
Score = Callable[[Sequence[tuple[int, Demonstrations]]], Sequence[float]]
"""(item, demonstrations) -> log-probability of "true" minus that of "false", in bulk."""
Rule = Literal["exclusive", "mirror", "none"]


@dataclass(frozen=True)
class Item:
    """What the search may know of an item: its texts, and nothing of what is true of it."""

    group: str
    """Items of different groups never contradict each other; "" is a group of its own."""
    key: str
    """What the item claims within its group; items of one key must have one label."""


@dataclass(frozen=True)
class Annealing:
    """How the search goes; the defaults are the released code's."""

    alpha: float = 30.0
    steps: int = 3000
    start: int = 8
    """Items that get a label before the first step."""
    hottest: float = 10.0
    coldest: float = 0.01
    cooling: float = 2.0
    """T = max(coldest, hottest / (1 + cooling * ln(1 + accepted steps)))."""
    repairs: int = 10
    """Sweeps over contradicting pairs after a step."""
    prefer: float = 100.0
    """How much rather an unlabelled item is picked whose group has a label."""


@dataclass
class Found:
    """The labels at the end, and how the search went."""

    labels: dict[int, bool]
    utility: float
    accepted: int = 0
    repaired: int = 0
    trace: list[tuple[int, bool, float]] = field(default_factory=list)
    """Item, whether the step was accepted, and U after it: step by step."""


def contradictions(items: Sequence[Item], rule: Rule) -> list[tuple[int, int, bool]]:
    """Pairs of items that bear on each other: (i, j, whether they must have the same label).

    Items of one group and key must have the same label. Those of one group with different keys must not both be true
    (``exclusive``), nor both false either (``mirror``); with ``none`` they may be anything.
    """
    out = []
    for i, j in combinations(range(len(items)), 2):
        if items[i].group and items[i].group == items[j].group:
            same = items[i].key == items[j].key
            if same or rule != "none":
                out.append((i, j, same))
    return out


def broken(labels: Labels, pairs: Sequence[tuple[int, int, bool]], rule: Rule) -> list[tuple[int, int, bool]]:
    """The pairs whose labels contradict each other."""

    def wrong(i: int, j: int, same: bool) -> bool:
        if i not in labels or j not in labels:
            return False
        if same:
            return labels[i] != labels[j]
        return labels[i] == labels[j] if rule == "mirror" else labels[i] and labels[j]

    return [pair for pair in pairs if wrong(*pair)]


def demonstrations(item: int, labels: Labels, most: int) -> Demonstrations:
    """What an item is predicted from: all other labelled items in order, or, with a limit, those of other blocks.

    With a limit k, blocks are items 0..k-1, k..2k-1 and so on; an item is predicted from the first k labelled items
    after its block, cyclically, so that all items of a block read the same demonstrations. Only where no other block
    has a label is it predicted from the rest of its own.
    """
    others = [other for other in sorted(labels) if other != item]
    if most:
        after = (item // most + 1) * most
        outside = [other for other in others if other // most != item // most]
        outside.sort(key=lambda other: (other < after, other))
        others = sorted((outside or others)[:most])
    return tuple((other, labels[other]) for other in others)


class Coherence:
    """U for any labels of a set of items; a prediction is asked for once."""

    def __init__(self, items: Sequence[Item], score: Score, *, alpha: float, rule: Rule, most: int = 0) -> None:
        self.items, self.rule, self.alpha = items, rule, alpha
        self.pairs = contradictions(items, rule)
        self._score, self._most = score, most
        self._known: dict[tuple[int, Demonstrations], float] = {}

    def predictions(self, wanted: Sequence[int], labels: Labels) -> list[float]:
        """Scores of items given all other labels; an item's own label, if it has one, is not seen."""
        asks = [(item, demonstrations(item, labels, self._most)) for item in wanted]
        missing = list(dict.fromkeys(ask for ask in asks if ask not in self._known))
        if missing:
            self._known |= zip(missing, self._score(missing), strict=True)
        return [self._known[ask] for ask in asks]

    def utility(self, labels: Labels) -> float:
        """alpha * (mean signed score) - (number of contradictions)."""
        given = sorted(labels)
        scores = self.predictions(given, labels)
        signed = [score if labels[item] else -score for item, score in zip(given, scores, strict=True)]
        mean = sum(signed) / len(signed) if signed else 0.0
        return self.alpha * mean - len(self.broken(labels))

    def broken(self, labels: Labels) -> list[tuple[int, int, bool]]:
        return broken(labels, self.pairs, self.rule)

    def repaired(self, labels: Labels, sweeps: int) -> tuple[dict[int, bool], int]:
        """Labels with contradictions resolved, and how many were.

        The better resolution of the first contradicting pair is taken at once, and those of later ones where U does not
        fall; a sweep ends at the first that is taken. Two claims that exclude each other are never both made false.
        """
        now, best, count = dict(labels), -math.inf, 0
        for _ in range(sweeps):
            for i, j, same in self.broken(now):
                ways = ((True, True), (False, False)) if same else ((True, False), (False, True))
                tried = [{**now, i: one, j: other} for one, other in ways]
                worth = [self.utility(way) for way in tried]
                choice = max(range(2), key=lambda place: worth[place])
                if worth[choice] >= best:
                    now, best, count = tried[choice], worth[choice], count + 1
                    break
            else:
                break
        return now, count


def search(coherence: Coherence, how: Annealing, seed: int, start: Labels | None = None) -> Found:
    """Simulated annealing over labels; at the end every item has one.

    What is returned is the best labelling of all items that was met, and where none was, the last one, with the items
    that the search left out labelled by the sign of their scores. (The released code returns the last one.)

    Args:
        start: the first labels; by default those of ``how.start`` random items, half of them true.
    """
    rng = random.Random(seed)
    count = len(coherence.items)
    if start is None:
        first = rng.sample(range(count), min(how.start, count))
        start = {item: place % 2 == 0 for place, item in enumerate(first)}
    labels, repaired = coherence.repaired(start, how.repairs)
    found = Found(labels, coherence.utility(labels), repaired=repaired)
    best = (-math.inf, found.labels)
    for _ in range(how.steps):
        if len(found.labels) == count and found.utility > best[0]:
            best = found.utility, found.labels
        item = rng.choices(range(count), _weights(coherence.items, found.labels, how.prefer))[0]
        [score] = coherence.predictions([item], found.labels)
        tried, repaired = {**found.labels, item: score > 0}, 0
        if tried != found.labels:
            tried, repaired = coherence.repaired(tried, how.repairs)
        utility = coherence.utility(tried)
        heat = max(how.coldest, how.hottest / (1 + how.cooling * math.log(1 + found.accepted)))
        gain = utility - found.utility
        taken = gain > 0 or rng.random() < math.exp(gain / heat)
        if taken:
            found.labels, found.utility = tried, utility
            found.accepted += 1
            found.repaired += repaired
        found.trace.append((item, taken, found.utility))
    left = [item for item in range(count) if item not in found.labels]
    scores = coherence.predictions(left, found.labels)
    whole = {**found.labels, **{item: score > 0 for item, score in zip(left, scores, strict=True)}}
    found.labels, repaired = coherence.repaired(whole, how.repairs * (1 + len(left)))
    found.repaired += repaired
    found.utility = coherence.utility(found.labels)
    if best[0] > found.utility:
        found.utility, found.labels = best
    return found


def _weights(items: Sequence[Item], labels: Labels, prefer: float) -> list[float]:
    labelled = {items[item].group for item in labels} - {""}
    return [prefer if i not in labels and one.group in labelled else 1.0 for i, one in enumerate(items)]
