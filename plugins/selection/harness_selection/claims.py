"""The task `lab-claims`: true or false? Claims of the embedded model of reasoning, in mirrored pairs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Literal

from harness_lab_maths import world
from pydantic import Field

from harness.api import JSON, EditFailed, Episode, Example, Prompt, Query, Recipe, References, Split, Task

VERSION = "lab-claims-1"
LEAST, MOST = 10, 99
TRUE, FALSE = "true", "false"
_WORD = str.maketrans("", "", ".!:,")


@dataclass(frozen=True)
class ClaimsSettings:
    """How many claims, and what makes one true."""

    train: Annotated[int, Field(ge=0)] = 48
    """Claims for an outer loop; even, as they come in pairs."""
    validation: Annotated[int, Field(ge=0)] = 20
    """Claims that choose a checkpoint."""
    test: Annotated[int, Field(ge=0)] = 100
    """Claims that are tested."""
    seed: int = 1
    """Other seeds give other claims."""
    concept: Literal["more", "even"] = "more"
    """``more``: a claim is true if its first number is larger, as the model was taught that claims may mean. ``even``:
    if its first number is even, which no claim ever meant. Claims and groups are the same either way."""
    gap: Annotated[int, Field(ge=1)] = MOST - LEAST
    """The largest difference of a claim's numbers: the smaller, the harder."""


class LabClaims(Task):
    """ "claim 45 more 12:" and, in the same group, "claim 12 more 45:". The splits share no pair of numbers.

    An episode's context is ``{"claim": text}``, and its one query is the same text; the answer is ``true`` or
    ``false``. Groups come from the numbers that a claim names, and never from what is true of them.
    """

    Settings = ClaimsSettings
    name = "lab-claims"
    version = VERSION
    metric = "exact"

    def __init__(self, settings: ClaimsSettings) -> None:
        self._settings = settings

    def load(self, split: Split, /) -> Sequence[tuple[Episode, References]]:
        """The claims of a split in their fixed order, a pair side by side."""
        if split == "made":
            return []
        own = self._settings
        rng = random.Random(f"{VERSION}/{split}/{own.seed}/{own.gap}")
        count: int = getattr(own, split)
        found: dict[tuple[int, int], None] = {}
        while 2 * len(found) < count:
            low = rng.randint(LEAST, MOST - 1)
            high = rng.randint(low + 1, min(MOST, low + own.gap))
            if _split_of(low, high) == split:
                found.setdefault((low, high))
        pairs = [pair if rng.random() < 0.5 else pair[::-1] for pair in found]
        claims = [one for left, right in pairs for one in ((left, right), (right, left))][:count]
        return [self._episode(*numbers, split, place) for place, numbers in enumerate(claims)]

    def _episode(self, left: int, right: int, split: Split, place: int) -> tuple[Episode, References]:
        name = f"{split}-{self._settings.seed}-{place}"
        text = world.claim(left, right)
        query = Query(f"{name}/label", text)
        true = left > right if self._settings.concept == "more" else left % 2 == 0
        group = f"{min(left, right)}-{max(left, right)}"
        return Episode(name, split, {"claim": text}, (query,), group), {query.id: (TRUE if true else FALSE,)}

    def prompt(self, query: Query, memory: JSON, /, *, chat: bool) -> Prompt:
        """The claim, which the model goes on with its label."""
        return (("user", f"{query.text} true or false?"),) if chat else query.text

    def expand(self, recipe: Recipe, episode: Episode, seed: int, /) -> Sequence[Example]:
        """``passage`` is the claim as text; ``lines`` a text of one's own, a sequence per line.

        Raises:
            EditFailed: another recipe, or one that makes nothing.
        """
        if recipe.name == "passage":
            return [Example("", str(episode.context["claim"]))]
        lines = [line.strip() for line in str(recipe.args.get("text", "")).splitlines() if line.strip()]
        if recipe.name != "lines" or not lines:
            raise EditFailed(
                f"task lab-claims makes nothing of the recipe {recipe.name!r}; there are passage and lines"
            )
        return [Example("", line) for line in lines]

    def extract(self, query: Query, answer: str, /) -> str | None:
        """The first word, if it is a label."""
        word = (answer.split() or [""])[0].translate(_WORD).lower()
        return word if word in (TRUE, FALSE) else None

    def same(self, query: Query, a: str, b: str, /) -> bool:
        """Equal labels."""
        return a.strip().lower() == b.strip().lower()


def _split_of(low: int, high: int) -> Split:
    first = sha256(f"{low}-{high}".encode()).digest()[0]
    return "train" if first < 128 else "validation" if first < 160 else "test"
