"""Test-time training data from a puzzle's own demonstrations (Akyürek et al., arXiv 2411.07279; SEAL B.5).

Every demonstration in turn plays the test, in the context of the others (leave-one-out) or of the others but one
(leave-two-out). Each such lesson is augmented, recoloured and reordered. The puzzle's own test input is never used.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, MinLen

from harness.api import JSON, EditFailed
from harness.tasks.arc.augment import GROUPS, draw_colours, draw_order, group
from harness.tasks.arc.grid import Lesson, Pair

_Count = Annotated[int, Ge(0)]
_Number = Annotated[int, Ge(1)]


@dataclass(frozen=True)
class TttArgs:
    """Arguments of the recipe ``ttt``."""

    __pydantic_config__: ClassVar[Mapping[str, Any]] = {"extra": "forbid"}

    augment: tuple[Literal["basic", "size", "chain", "repeat"], ...] = ()
    """Groups of :data:`~harness.tasks.arc.augment.GROUPS`."""
    leave_n: Annotated[tuple[_Number, ...], MinLen(1)] = (1, 2)
    permute_n: _Count = 1
    """Recoloured and reordered copies of every lesson, 0 for none; without ``augment`` only reordered."""
    epochs: _Count = 0
    """Epochs that the edit is going to train for; with ``batch_size``, what ``max_steps`` is held against."""
    batch_size: _Number = 1
    max_steps: _Count = 0
    """More than this many optimiser steps make the edit ``failed``; 0 is no limit."""
    chat: bool = False
    """Whether the learner is an instruct model, and is asked in turns."""

    @classmethod
    def of(cls, args: JSON) -> TttArgs:
        """Checked arguments.

        Raises:
            EditFailed: an argument is unknown, of the wrong type, or out of range.
        """
        from pydantic import TypeAdapter, ValidationError

        try:
            return TypeAdapter(cls).validate_json(json.dumps(dict(args)), strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            at = ".".join(map(str, first["loc"]))
            raise EditFailed(f"recipe ttt: {at}: {first['msg']}, got {first['input']!r:.60}") from None


def leave_out(demos: Sequence[Pair], n: int) -> Iterator[Lesson]:
    """Each demonstration as the test, with every choice of all but ``n - 1`` of the others as its context.

    N demonstrations give N lessons for ``n`` = 1 and N (N - 1) for ``n`` = 2.
    """
    for at, test in enumerate(demos):
        others = [*demos[:at], *demos[at + 1 :]]
        for context in itertools.combinations(others, max(0, len(others) - (n - 1))):
            yield Lesson(context, test)


def variants(demos: Sequence[Pair], args: TttArgs, rng: random.Random) -> Iterator[Lesson]:
    """All lessons in a fixed order, with duplicates: 2 N² without augmentation (N demonstrations, leave 1 and 2).

    Lessons with a side beyond 30 are left out.
    """
    for n in args.leave_n:
        lessons = list(leave_out(demos, n))
        for name in GROUPS:
            if name in args.augment:
                # One draw of the random augmenter for all lessons: within a lesson the rule must stay one rule.
                made = [one.fitting(lesson) for one in group(name, rng) for lesson in list(leave_out(demos, n))]
                lessons += [lesson for lesson in made if lesson is not None]
        yield from lessons
        for lesson in lessons:
            for _ in range(args.permute_n):
                shown = draw_colours(lesson.grids(), rng).lesson(lesson) if args.augment else lesson
                yield draw_order(shown, rng)


def training_lessons(demos: Sequence[Pair], args: TttArgs, rng: random.Random) -> list[Lesson]:
    """The lessons of :func:`variants` without duplicates, in their order."""
    return list(dict.fromkeys(variants(demos, args, rng)))
