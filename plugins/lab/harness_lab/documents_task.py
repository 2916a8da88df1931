"""The task `lab-documents`: one set of pages, asked about twice, for methods that learn from documents."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated

from pydantic import Field

from harness.api import Episode, Query, References, Split
from harness_lab.facts_task import LabFacts, LabFactsSettings
from harness_lab.world.facts import WORLD_VERSION, fill, questions, sentence
from harness_lab.world.squad import AskedPage, asked_pages


@dataclass(frozen=True)
class LabDocumentsSettings:
    """How many pages, and from which seed."""

    test: Annotated[int, Field(ge=1)] = 24
    """Pages that are learnt and tested."""
    seed: int = 1
    """Other seeds give other pages."""
    wordings: Annotated[int, Field(ge=1, le=7)] = 2
    """Labelled questions of each fact in the train split, each in another wording."""


class LabDocuments(LabFacts):
    """The test split of `lab-facts`, and as its train split the same pages, asked about in the wordings of training.

    So no test question is in the train split, and every fact that is tested has labelled questions there, for upper
    bounds. It can solve every question about its facts whose wording is one of the world's. The validation split is
    empty.
    """

    Settings = LabDocumentsSettings  # type: ignore[assignment]
    name = "lab-documents"
    version = f"lab-{WORLD_VERSION}"

    def __init__(self, settings: LabDocumentsSettings) -> None:
        super().__init__(LabFactsSettings(train=0, validation=0, test=settings.test, seed=settings.seed))
        self._drawn = settings

    def load(self, split: Split, /) -> Sequence[tuple[Episode, References]]:
        """The pages in their order; the ids of the train split's begin with ``labelled-``."""
        if split not in ("train", "test"):
            return []
        tested = super().load("test")
        if split == "test":
            return tested
        return [self._labelled(episode, page) for (episode, _), page in zip(tested, self._pages, strict=True)]

    def solutions(self, query: Query, /) -> Sequence[str]:
        """The value of the fact that the question asks for; nothing where no fact of the pages is asked for so."""
        return self._answers.get(query.text, ())

    @cached_property
    def _pages(self) -> list[AskedPage]:
        return asked_pages("test", self._drawn.test, self._drawn.seed)

    @cached_property
    def _answers(self) -> dict[str, tuple[str]]:
        return {
            sentence(fill(template, fact.entity.subject)): (fact.value,)
            for page in self._pages
            for fact in page.page.facts
            for held_out in (False, True)
            for template in questions(fact.attribute, held_out=held_out)
        }

    def _labelled(self, episode: Episode, page: AskedPage) -> tuple[Episode, References]:
        name = f"labelled-{episode.id}"
        rng = random.Random(f"{WORLD_VERSION}/labelled/{self._drawn.seed}/{episode.id}")
        count, facts = self._drawn.wordings, page.page.facts
        templates = [rng.sample(questions(fact.attribute, held_out=False), count) for fact in facts]
        asked = [(fact, mine[wording]) for wording in range(count) for fact, mine in zip(facts, templates, strict=True)]
        queries = tuple(
            Query(f"{name}-{place}", sentence(fill(template, fact.entity.subject)), {"title": page.page.title})
            for place, (fact, template) in enumerate(asked)
        )
        references = {query.id: [fact.value] for query, (fact, _) in zip(queries, asked, strict=True)}
        return replace(episode, id=name, split="train", queries=queries), references
