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
NAMES: Mapping[str, tuple[str, ...]] = {name: world.NAMES[3 * i : 3 * i + 3] for i, name in enumerate(DOMAINS)}
THINGS: Mapping[str, tuple[str, ...]] = {name: world.THINGS[2 * i : 2 * i + 2] for i, name in enumerate(DOMAINS)}
"""Whom its stories are about, and what is counted in them."""


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
    """Stories of three events; those of a domain have its verbs, names and things. In the pool (the train split) an
    episode's context is ``{"text": problem, "response": a right chain}``.

    The chain's style is one of the four that compute; readings are right and there are no slips. The test is that of
    counting stories: its answers are numbers, and it has as many stories of every domain as mixed ones, whatever the
    pool holds.
    """

    Settings = PoolSettings  # type: ignore[assignment]
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
            one = _story(rng, self._domains(rng, split))
            if one.split == split:
                found.setdefault(one.text, one)
        return [_episode(one, split, own.seed, place, rng) for place, one in enumerate(found.values())]

    def _domains(self, rng: random.Random, split: Split) -> list[str]:
        """The domains of a story's five words: name, thing and three verbs, all of one domain, or each of any."""
        own = self._pool
        if split != "train":
            kind = rng.choice([*DOMAINS, "mixed"])
            return rng.choices(list(DOMAINS), k=5) if kind == "mixed" else [kind] * 5
        if len(own.domains) > 1 and rng.random() < own.mixed:
            return rng.choices(own.domains, k=5)
        others = own.domains[1:]
        return [own.domains[0] if not others or rng.random() < own.first else rng.choice(others)] * 5


def _story(rng: random.Random, domains: Sequence[str]) -> world.Problem:
    name, thing = rng.choice(NAMES[domains[0]]), rng.choice(THINGS[domains[1]])
    verbs = [rng.choice(DOMAINS[domain]) for domain in domains[2:]]
    while True:
        events = tuple((verb, rng.randint(2, world.LARGEST)) for verb in verbs)
        one = world.Problem(name, thing, rng.randint(10, 99), events)
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
