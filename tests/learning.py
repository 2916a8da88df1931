"""What tests of loops share: an updater that remembers its jobs, questions with numbers for answers, and lost texts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from harness.api import Example, Preference, Prompt, Query, Request, Rollout, Session, Updated, UpdateJob, Updater
from harness.testing.scripted import ScriptedLM, ScriptedTask


class Learner(Updater):
    """Trains as little as it can, remembers its jobs, and gives each result a state of its own."""

    accepts = frozenset({Example, Preference, Rollout})
    continues = True
    settings: ClassVar[Mapping[str, Any]] = {"rank": 1, "epochs": 1, "batch_size": 64}

    def __init__(self) -> None:
        self.jobs: list[UpdateJob] = []

    @property
    def data(self) -> list[Any]:
        """All that it was given, in order."""
        return [item for job in self.jobs for edit in job.edits for item in edit.data]

    def apply(self, jobs: Sequence[UpdateJob], s: Session, /) -> Iterator[Updated]:
        self.jobs += jobs
        pairs = any(isinstance(item, Preference) for edit in jobs[0].edits for item in edit.data)
        small = [dataclasses.replace(job, settings=self.settings) for job in jobs]
        yield from s.fit(small, loss="dpo" if pairs else "sft")


class Numbers(ScriptedTask):
    """ "What is 2 of train?": an answer ends with a colon and a number; the task solves what a method ``made``."""

    def extract(self, query: Query, answer: str, /) -> str | None:
        return answer.partition(": ")[2].strip() or None

    def prompt(self, query: Query, memory: Any, /, *, chat: bool) -> Prompt:
        return (("user", query.text),) if chat else f"Q {query.text} A"

    def solutions(self, query: Query, /) -> Sequence[str]:
        return ("7",) if "made" in query.text else ()


def numbers(gold: str, splits: Sequence[str] = ("train", "validation", "test"), text: str = "a text") -> Numbers:
    """Four questions in each split, all with the same reference; ``text`` is the context of the test's."""
    return Numbers(
        {
            split: {
                f"{split}{n}": (text if split == "test" else f"a text about {split}{n}", {question: [gold]})
                for n in range(4)
                for question in [f"What is {n} of {split}?"]
            }
            for split in splits
        }
    )


def lose(model: ScriptedLM, words: str = "") -> None:
    """From now on, every text whose prompt holds these words is lost on its way."""
    whole = model.generate

    def losing(asks: Sequence[Request], /) -> Any:
        return [
            [
                dataclasses.replace(c, finish="error", reason="gone") if words in str(c.request.prompt) else c
                for c in row
            ]
            for row in whole(asks)
        ]

    model.generate = losing  # type: ignore[method-assign]
