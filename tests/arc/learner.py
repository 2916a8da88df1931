"""A plugin in one file: a model that writes configurations and solves puzzles once it was trained at a good rate.

Nothing else is faked: recipes are expanded, jobs trained, questions asked and voted on as in any run. The model
knows the solutions of ``lab-grids`` and states them where its last adapter was trained at a rate of at least 1e-3;
trained at a lower one it answers wrongly, untrained it says nothing. Untrained it writes one configuration of each
kind (malformed, too low a rate, good, good); trained, or asked for a single one, it writes good ones only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness_lab.grids_task import LabGrids

from harness import hookimpl
from harness.api import Request, Split, Trained, TrainItem
from harness.books.artefacts import artefact
from harness.books.records import digest
from harness.books.store import WeightStore
from harness.tasks.arc.augment import IDENTITY, NAMED
from harness.testing.scripted import ScriptedLM, made_up_weights

RATES = (None, 1e-5, 5e-3, 2e-3)
"""By sample: None is malformed."""


def configuration(rate: float | None) -> str:
    if rate is None:
        return '{"data_generation": {}'
    tools = {f"use_{name}_augmentations": name == "basic" for name in ("basic", "size", "chain", "repeat")}
    training = {"strategy": "train_using_output_tokens", "learning_rate": rate, "num_train_epochs": 2}
    return json.dumps({"data_generation": tools, "training": training})


class Model(ScriptedLM):
    @dataclass(frozen=True)
    class Settings:
        path: str = ""

    def __init__(self, settings: Settings, weights: WeightStore) -> None:
        super().__init__(self._say, name="learner")
        self._weights = weights
        task = LabGrids(LabGrids.Settings(rules="colours"))
        splits: tuple[Split, ...] = ("train", "test")
        self._known = {
            str(task.text.prompt([], one.forward(test), chat=False)): one.forward(solution)
            for split in splits
            for puzzle in task.puzzles(split)
            for test, solution in zip(puzzle.tests, puzzle.solutions, strict=True)
            for one in (*NAMED.values(), IDENTITY)
        }
        self._text = task.text
        self.trained: list[TrainItem] = []

    def _say(self, request: Request, index: int) -> str:
        prompt, adapters = str(request.prompt), request.state.adapters
        if prompt.endswith("Configuration:\n"):
            return configuration(RATES[index % len(RATES)] if not adapters and request.n > 1 else RATES[-1])
        if not adapters:
            return ""
        solution = self._known[prompt.rpartition("\n\n")[2]]
        rate = self._weights.adapter(adapters[-1]).alpha
        return self._text.answer(solution if rate >= 1e-3 else tuple(row[:-1] or (9, 9) for row in solution))

    def train(self, items: Sequence[TrainItem], loss: str | Any = "sft") -> Iterator[Trained]:
        """The adapter's ``alpha`` says at what rate it was trained."""
        for item in items:
            self.trained.append(item)
            tensors, config = made_up_weights(digest([item.start, list(item.data), item.seed, item.settings]))
            made = artefact(tensors, {**config, "alpha": item.settings["learning_rate"]})
            yield Trained(item.id, made, log={"steps": len(item.data), "tokens": 0})


@hookimpl
def harness_models() -> Mapping[str, str]:
    return {"learner": "learner:Model"}
