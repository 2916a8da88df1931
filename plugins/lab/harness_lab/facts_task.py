"""The task `lab-facts`: SQuAD's task on generated pages."""

from dataclasses import dataclass
from typing import Literal

from harness.tasks.squad import Squad
from harness.tasks.squad.passages import Passage, Question
from harness.tasks.squad.settings import SquadSettings
from harness.tasks.squad.splits import Splits
from harness.tasks.squad.splitter import Splitter
from harness_lab.world.facts import WORLD_VERSION
from harness_lab.world.squad import asked_pages


@dataclass(frozen=True)
class LabFactsSettings:
    """How many pages, from which seed, and how an edit becomes training sequences (as in the task `squad`)."""

    train: int = 48
    """Pages for the outer loop."""
    validation: int = 24
    """Pages that choose a checkpoint."""
    test: int = 100
    """Pages that are tested."""
    seed: int = 1
    """Other seeds give other pages; names and question templates stay within their split."""
    splitter: Splitter = "fixed"
    """How an edit's text is split into sequences (:mod:`harness.tasks.squad.splitter`)."""
    lines: Literal["single", "always", "never"] = "single"
    """Whether each line of an edit becomes a sequence: ``single`` does so save in continued pretraining, where one
    update learns the edits of all pages."""
    cap: int = 30
    """Most sequences per edit, the page not counted; 0 keeps all."""
    title: bool = True
    """Whether every sequence begins with a line that holds the title."""
    passage: Literal["once-per-completion", "once-per-context", "never"] = "once-per-completion"
    """Whether the page itself is learnt: with each of its edits, once for all its edits in an update, or never."""
    max_edit_chars: int = 100_000
    """A longer edit is ``failed``."""


class _Generated(Splits):
    def __init__(self, settings: LabFactsSettings, squad: SquadSettings) -> None:
        super().__init__(squad)
        self._counts = {"train": settings.train, "validation": settings.validation, "test": settings.test}
        self._seed = settings.seed

    def of(self, split: Literal["train", "validation", "test"]) -> list[Passage]:
        return [
            Passage(one.page.title, one.page.text, tuple(Question(a.id, a.question, (a.answer,)) for a in one.asked))
            for one in asked_pages(split, self._counts[split], self._seed)
        ]


class LabFacts(Squad):
    """Closed-book questions about generated pages: entities and question templates that pre-training never saw."""

    Settings = LabFactsSettings  # type: ignore[assignment]
    name = "lab-facts"
    version = f"lab-{WORLD_VERSION}"
    metric = "exact"

    def __init__(self, settings: LabFactsSettings) -> None:
        shared = ("splitter", "lines", "cap", "title", "passage", "max_edit_chars")
        squad = SquadSettings(**{name: getattr(settings, name) for name in shared})
        super().__init__(squad)
        self._passages = _Generated(settings, squad)
