"""The task `lab-known`: closed-book questions about what pre-training taught, for what an update makes of it."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from harness.api import Episode, Query, References, Split
from harness_lab.facts_task import LabFacts, LabFactsSettings
from harness_lab.pretraining.batches import RESIDENT_SEED
from harness_lab.pretraining.mix import residents
from harness_lab.world.facts import WORLD_VERSION, World


@dataclass(frozen=True)
class LabKnownSettings:
    """How many residents are asked about, and which."""

    test: Annotated[int, Field(ge=1, le=150)] = 24
    """Residents that are asked about."""
    seed: int = 1
    """Other seeds ask about other residents, with other questions."""


class LabKnown(LabFacts):
    """Residents of the world that the model was taught in pre-training, statements and answers both.

    An episode is a resident under a page's title, with one question for each of four facts, and its text states them.
    The train split has as many other residents; the validation split is empty.
    """

    Settings = LabKnownSettings  # type: ignore[assignment]
    name = "lab-known"
    version = f"lab-{WORLD_VERSION}"

    def __init__(self, settings: LabKnownSettings) -> None:
        super().__init__(LabFactsSettings(train=0, validation=0, test=0))
        self._known = settings

    def load(self, split: Split, /) -> Sequence[tuple[Episode, References]]:
        """Residents and their facts, in an order that the seed draws."""
        if split not in ("train", "test"):
            return []
        rng = random.Random(f"{WORLD_VERSION}/known/{self._known.seed}")
        world = World(rng)
        asked = [one for one in residents(RESIDENT_SEED) if one.asked and not one.paragraphs]
        count = self._known.test
        drawn = rng.sample(asked, 2 * count)
        found = []
        for one in drawn[:count] if split == "test" else drawn[count:]:
            title, facts = world.title(), one.facts[:4]
            ids = [f"known-{one.entity.name}-{i}" for i in range(len(facts))]
            queries = tuple(
                Query(name, world.question(fact), {"title": title}) for name, fact in zip(ids, facts, strict=True)
            )
            text = "\n".join(world.statement(fact) for fact in facts)
            episode = Episode(f"known-{one.entity.name}", split, {"title": title, "text": text}, queries)
            found.append((episode, {name: [fact.value] for name, fact in zip(ids, facts, strict=True)}))
        return found
