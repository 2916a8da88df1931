"""The task `lab-maths`: counting stories, one question each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from harness.api import JSON, EditFailed, Episode, Example, Prompt, Query, Recipe, References, Split, Task
from harness.errors import UsageError
from harness.tasks.playbook import with_playbook
from harness_lab_maths import world

_NUMBER = re.compile(r"-?\d{1,6}")


@dataclass(frozen=True)
class LabMathsSettings:
    """How many problems, from which seed, and how long they are."""

    train: int = 160
    """Problems for an outer loop."""
    validation: int = 40
    """Problems that choose a checkpoint."""
    test: int = 100
    """Problems that are tested."""
    seed: int = 1
    """Other seeds give other problems; sums stay within their split."""
    events: tuple[int, ...] = (2, 3, 4)
    """Numbers of events, each equally often."""


class LabMaths(Task):
    """Counting stories that ask how many are left. The splits share no sum with each other or with pre-training.

    An episode's context is ``{"text": problem}``, and its one query is the same problem: what is learnt of it is how to
    solve it. Answers are whole numbers; two are the same if they are equal as numbers.
    """

    Settings = LabMathsSettings
    name = "lab-maths"
    version = f"lab-maths-{world.WORLD_VERSION}"
    metric = "exact"

    def __init__(self, settings: LabMathsSettings) -> None:
        if not settings.events or not all(1 <= events <= 6 for events in settings.events):
            raise UsageError(f"task.events: write numbers from 1 to 6, not {list(settings.events)}")
        self._settings = settings

    def load(self, split: Split, /) -> Sequence[tuple[Episode, References]]:
        """The problems of a split in their fixed order."""
        if split == "made":
            return []
        settings = self._settings
        found = world.problems(split, getattr(settings, split), settings.seed, settings.events)
        return [_episode(problem, split, settings.seed, place) for place, problem in enumerate(found)]

    def prompt(self, query: Query, memory: JSON, /, *, chat: bool) -> Prompt:
        """The problem, to be solved; a conversation for an instruct model.

        With ``{"playbook": {"text"}}`` in memory, raw text begins with those of its notes ("note rents gets.") that are
        on verbs of the problem: the embedded model was taught with six notes at most, and does not heed ten. An
        instruct model reads all of the playbook.

        Raises:
            UsageError: the memory holds any other key, which this task would not know how to show.
        """
        unknown = set(memory) - {"playbook"}
        if unknown:
            raise UsageError(f"task lab-maths shows the memory key 'playbook' only, not {min(unknown)!r}")
        told = str(memory["playbook"]["text"]) if memory else ""
        if chat:
            asked = f"{query.text} Think step by step and end with 'so', the number and a full stop."
            return with_playbook((("user", asked),), memory)
        verbs = set(query.text.split())
        return world.ask(query.text, [one for one in world.notes_in(told) if one.split()[0] in verbs])

    def expand(self, recipe: Recipe, episode: Episode, seed: int, /) -> Sequence[Example]:
        """``passage`` is the problem as text; ``lines`` a text of one's own, a sequence per line.

        Raises:
            EditFailed: another recipe, or one that makes nothing.
        """
        if recipe.name == "passage":
            return [Example("", str(episode.context["text"]))]
        if recipe.name != "lines":
            raise EditFailed(f"task lab-maths has no recipe {recipe.name!r}; there are passage and lines")
        lines = [line.strip() for line in str(recipe.args.get("text", "")).splitlines() if line.strip()]
        if not lines:
            raise EditFailed("the recipe 'lines' has no text to learn")
        return [Example("", line) for line in lines]

    def extract(self, query: Query, answer: str, /) -> str | None:
        """The number after the last "so", or a text that is a number and nothing else."""
        found = world.answer_of(answer)
        if found is None and _NUMBER.fullmatch(answer.strip()):
            return str(int(answer))
        return found

    def same(self, query: Query, a: str, b: str, /) -> bool:
        """Equal numbers."""
        return _number(a) == _number(b)

    def solutions(self, query: Query, /) -> Sequence[str]:
        """The answer of any counting story, so that pseudo-labels of problems that a method made can be diagnosed."""
        problem = world.parse(query.text)
        return () if problem is None else (str(problem.answer),)


def _number(text: str) -> int | str:
    text = text.strip()
    return int(text) if _NUMBER.fullmatch(text) else text


def _episode(problem: world.Problem, split: Split, seed: int, place: int) -> tuple[Episode, References]:
    name = f"{split}-{seed}-{place}"
    query = Query(f"{name}/answer", problem.text)
    return Episode(name, split, {"text": problem.text}, (query,)), {query.id: (str(problem.answer),)}
