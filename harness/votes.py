"""Answer classes and majority votes. Pure functions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

Same = Callable[[str, str], bool]
"""Whether two answers mean the same."""


@dataclass(frozen=True)
class Vote:
    """What most members of a group answer."""

    answer: str | None
    """As the majority's first member gave it; None where nobody answered."""
    index: int | None
    """That member's place in the group."""
    members: tuple[int, ...]
    """Places of those who answered so, in order."""
    share: float
    """Of all members: those without an answer count against it. 0 where nobody answered."""
    share_of_valid: float
    """Of those who answered."""
    tied: bool
    """Whether another answer has as many votes."""


def classes(answers: Sequence[str | None], same: Same | None = None) -> list[int | None]:
    """The class of every answer, numbered in the order in which classes are first met; None for no answer.

    Args:
        same: an answer joins the first class whose first member means the same. None: equal texts.
    """
    firsts: list[str] = []
    out: list[int | None] = []
    for answer in answers:
        if answer is None:
            out.append(None)
            continue
        number = next(
            (i for i, first in enumerate(firsts) if (first == answer if same is None else same(first, answer))), None
        )
        if number is None:
            number = len(firsts)
            firsts.append(answer)
        out.append(number)
    return out


def vote(answers: Sequence[str | None], same: Same | None = None) -> Vote:
    """The largest class of answers, the first met of equally large ones; those without an answer have no vote."""
    numbers = classes(answers, same)
    counts = Counter(number for number in numbers if number is not None)
    if not counts:
        return Vote(None, None, (), 0.0, 0.0, False)
    most = max(counts.values())
    winners = sorted(number for number, count in counts.items() if count == most)
    members = tuple(place for place, number in enumerate(numbers) if number == winners[0])
    valid = sum(counts.values())
    return Vote(answers[members[0]], members[0], members, most / len(answers), most / valid, len(winners) > 1)
