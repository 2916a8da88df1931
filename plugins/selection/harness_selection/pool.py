"""The task `lab-pool`: counting stories with worked answers, of four domains, from which training data are selected."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from harness_lab_maths import world
from harness_lab_maths.maths_task import LabMaths
from pydantic import Field

from harness.api import Episode, Query, References, Split
from harness.errors import UsageError

VERSION = "lab-pool-1"
DOMAINS: Mapping[str, tuple[str, ...]] = {
    "plain": tuple(world.PLAIN),
    "common": tuple(world.COMMON_HARD),
    "rare-one": ("rents", "pawns", "stakes"),
    "rare-two": ("bids", "leases", "hires"),
}
"""The verbs of each domain's stories."""


@dataclass(frozen=True)
class PoolSettings:
    """How large the pool is, and of what."""

    train: Annotated[int, Field(ge=0)] = 400
    """Stories with worked answers to select from."""
    validation: Annotated[int, Field(ge=0)] = 40
    """Stories that choose a checkpoint."""
    test: Annotated[int, Field(ge=0)] = 120
    """Stories that are tested: of all domains alike, and mixed ones."""
    seed: int = 1
    """Other seeds give other stories."""
    domains: tuple[str, ...] = tuple(DOMAINS)
    """Whose stories are in the pool; one alone makes a pool in which there is nothing to be told apart."""
    mixed: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Share of the pool's stories with verbs of several domains (where the pool has several)."""
    first: Annotated[float, Field(ge=0, le=1)] = 0.6
    """Share of the first domain among the others: pools are not even."""


class LabPool(LabMaths):
    """Stories of three events. An episode's context is ``{"text": problem, "response": a right chain}``.

    The chain's style is one of the four that compute; readings are right and there are no slips. The test is that of
    counting stories: its answers are numbers, and it has as many stories of every domain as mixed ones, whatever the
    pool holds.
    """

    Settings = PoolSettings
    name = "lab-pool"
    version = f"{VERSION}-{world.WORLD_VERSION}"

    def __init__(self, settings: PoolSettings) -> None:
        unknown = [name for name in settings.domains if name not in DOMAINS]
        if unknown or not settings.domains:
            raise UsageError(f"task.domains: choose of {', '.join(DOMAINS)}, not {list(settings.domains)}")
        self._pool = settings

    def load(self, split: Split, /) -> Sequence[tuple[Episode, References]]:
        """The stories of a split in their fixed order."""
        if split == "made":
            return []
        own = self._pool
        rng = random.Random(f"{VERSION}/{split}/{own.seed}/{own.domains}/{own.mixed}/{own.first}")
        found: dict[str, world.Problem] = {}
        while len(found) < getattr(own, split):
            one = _story(rng, self._verbs(rng, split))
            if one.split == split:
                found.setdefault(one.text, one)
        return [_episode(one, split, own.seed, place, rng) for place, one in enumerate(found.values())]

    def _verbs(self, rng: random.Random, split: Split) -> list[str]:
        """The verbs of a story: of one domain, or each of another."""
        own = self._pool
        if split != "train":
            kind = rng.choice([*DOMAINS, "mixed"])
            names = rng.sample(list(DOMAINS), 3) if kind == "mixed" else [kind] * 3
        elif len(own.domains) > 1 and rng.random() < own.mixed:
            names = rng.sample(own.domains, min(3, len(own.domains)))
            names += rng.choices(own.domains, k=3 - len(names))
        else:
            others = own.domains[1:]
            names = [own.domains[0] if not others or rng.random() < own.first else rng.choice(others)] * 3
        return [rng.choice(DOMAINS[name]) for name in names]


def _story(rng: random.Random, verbs: Sequence[str]) -> world.Problem:
    while True:
        events = tuple((verb, rng.randint(2, world.LARGEST)) for verb in verbs)
        one = world.Problem(rng.choice(world.NAMES), rng.choice(world.THINGS), rng.randint(10, 99), events)
        if all(0 <= total <= world.MOST for total in one.totals):
            return one


def _episode(
    problem: world.Problem, split: Split, seed: int, place: int, rng: random.Random
) -> tuple[Episode, References]:
    name = f"pool-{split}-{seed}-{place}"
    query = Query(f"{name}/answer", problem.text)
    context = {"text": problem.text}
    if split == "train":
        style = rng.choice(("walk", "split", "told", "list"))
        context["response"] = world.solve(problem, problem.signs, style, rng)
    return Episode(name, split, context, (query,)), {query.id: (str(problem.answer),)}
