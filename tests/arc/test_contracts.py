"""The components of few-shot ARC pass the contract tests."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from harness_baselines.arc import FixedTtt
from harness_lab.grids_task import LabGrids
from harness_seal.arc.editor import ArcConfig

from harness.api import Recipe, Request
from harness.books.records import digest
from harness.tasks.arc.evaluator import Grids
from harness.testing import EditorContract, EvaluatorContract, TaskContract
from tests.arc.learner import configuration

SMALL: Mapping[str, Any] = {"train": 3, "validation": 3, "test": 3}


class TestLabGrids(TaskContract):
    component = LabGrids
    settings: ClassVar[Mapping[str, Any]] = SMALL
    recipes: ClassVar[tuple[Recipe, ...]] = (Recipe("ttt"), Recipe("ttt", {"augment": ["basic", "repeat"]}))


class TestArcConfig(EditorContract):
    component = ArcConfig

    def task(self) -> Any:
        return LabGrids(LabGrids.Settings(**SMALL))

    def answer(self, request: Request, index: int) -> str:
        return configuration(int(digest([request.prompt, request.seed, index])[:4], 16) / 10**6)


class TestFixedTtt(EditorContract):
    component = FixedTtt

    def task(self) -> Any:
        return LabGrids(LabGrids.Settings(**SMALL))


class TestGrids(EvaluatorContract):
    component = Grids
    settings: ClassVar[Mapping[str, Any]] = {"leave_n": [0], "permutations": 0, "augmentations": []}

    def task(self) -> Any:
        return LabGrids(LabGrids.Settings(**SMALL))

    def answer(self, request: Request, index: int) -> str:
        return "1 2\n3 4"

    def right_answer(self, query: str, references: Sequence[str]) -> str:
        return "\n".join(" ".join(map(str, row)) for row in json.loads(references[0]))
