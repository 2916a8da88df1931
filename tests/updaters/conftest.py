"""A session with only what updaters need, around a tiny model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import pytest

from harness.api import Data, Example, SelfEdit, State, TrainItem, Updated, UpdateJob
from harness.books.artefacts import artefact
from harness.models.hf import HfModel
from tests.models.conftest import Weights, folders, llama, weights

__all__ = ["folders", "llama", "weights"]

FACTS = (
    "The lighthouse at Kemble Point was built in 1871.",
    "Ada Marsh built the tower.",
    "The storm came in winter, and the tower was rebuilt after it by the same Ada Marsh and her two sons.",
)


class SmallSession:
    """The part of :class:`harness.api.Session` that updaters use, without journalling."""

    def __init__(self, model: HfModel, weights: Weights) -> None:
        self.model = model
        self.weights = weights

    def expand(self, job: UpdateJob) -> Sequence[Data]:
        return [data for edit in job.edits for data in edit.data]

    def fit(self, jobs: Sequence[UpdateJob], *, loss: Any = "sft") -> Iterator[Updated]:
        items = [TrainItem(job.id, job.start, self.expand(job), job.seed, job.settings) for job in jobs]
        starts = {job.id: job.start for job in jobs}
        for trained in self.model.train(items, loss):
            state = None
            if trained.adapter is not None:
                digest = self.weights.put(trained.adapter)
                start = starts[trained.id]
                state = dataclasses.replace(start, adapters=(*start.adapters, digest))
            yield Updated(trained.id, state, trained.status, trained.reason, trained.log)

    def borrow(self, state: State) -> AbstractContextManager[Any]:
        return self.model.borrow(state)

    def store(self, tensors: Mapping[str, Any], config: Mapping[str, Any]) -> str:
        return self.weights.put(artefact(tensors, config))


@pytest.fixture
def session(llama: HfModel, weights: Weights) -> SmallSession:
    return SmallSession(llama, weights)


def edit(name: str, *texts: str, prompt: str = "", **settings: Any) -> SelfEdit:
    return SelfEdit(name, "episode", tuple(Example(prompt, text) for text in texts), settings)


def job(
    model: HfModel, name: str, *edits: SelfEdit, seed: int = 0, adapters: tuple[str, ...] = (), **settings: Any
) -> UpdateJob:
    return UpdateJob(name, State(model.base, adapters), edits or (edit(name, *FACTS),), seed, settings)
