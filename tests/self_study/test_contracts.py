"""The rules for the plugin's components, the task lab-documents, and presets for other models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
from harness_lab.documents_task import LabDocuments
from harness_self_study.al import Al
from harness_self_study.alas import Alas
from harness_self_study.by_round import ByRound

from harness.registry.discover import Plugins
from harness.runs.config import resolve
from harness.testing import ProtocolContract, TrainerContract
from tests.learning import Learner

LEARNERS: Mapping[str, tuple[str, Any]] = {"sft": ("updater", Learner()), "dpo": ("updater", Learner())}


class TestAl(TrainerContract):
    component = Al
    settings: ClassVar[Mapping[str, Any]] = {"split": "train", "rounds": 2, "writings": 1}
    slots: ClassVar[Mapping[str, tuple[str, Any]]] = LEARNERS


class TestAlas(TrainerContract):
    component = Alas
    settings: ClassVar[Mapping[str, Any]] = {"split": "train", "rounds": 2, "writings": 1, "survey": 1}
    slots: ClassVar[Mapping[str, tuple[str, Any]]] = LEARNERS


class TestByRound(ProtocolContract):
    component = ByRound


def test_documents_are_asked_about_in_other_words_before_the_test() -> None:
    task = LabDocuments(LabDocuments.Settings(test=3))
    train, test = task.load("train"), task.load("test")
    assert [one.context for one, _ in train] == [one.context for one, _ in test]
    asked = [{query.text for episode, _ in split for query in episode.queries} for split in (train, test)]
    assert (len(asked[0]), len(asked[1])) == (36, 18), "two wordings of every fact are labelled"
    assert not asked[0] & asked[1]
    for split in (train, test):
        for episode, references in split:
            assert all(list(task.solutions(query)) == list(references[query.id]) for query in episode.queries)
    assert task.load("validation") == []
    assert not {one.id for one, _ in train} & {one.id for one, _ in test}


def resolved(method: str, preset: str, model: str = "lab") -> Any:
    return resolve({"method": method, "preset": preset, "model": model, "task": "lab-documents"}, Plugins())


@pytest.mark.parametrize("method", ["al", "alas"])
@pytest.mark.parametrize("preset", ["lab", "quick", "instruct-7b"])
def test_presets_resolve_with_their_controls(method: str, preset: str) -> None:
    config = resolved(method, preset)
    names = {arm.method.name for arm in config.arms}
    assert {method, f"{method}-random", f"{method}-oracle", f"{method}-untrained"} <= names
    assert all(arm.protocol["use"] == "by-round" for arm in config.arms)
    of = {arm.method.name: arm.slots for arm in config.arms}
    for slot in ("sft", "dpo"):
        assert of[method][slot] == of[f"{method}-random"][slot] == of[f"{method}-oracle"][slot], "equal budgets"


def test_settings_for_an_instruct_model() -> None:
    """AL published none and ALAS's are not in its abstract, so these are our own."""
    slots = resolved("al", "instruct-7b").arms[0].slots
    assert slots["dpo"]["loss"] == {"use": "dpo", "beta": 0.1, "nll": 1.0}
    assert slots["dpo"]["learning_rate"] < slots["sft"]["learning_rate"] <= 1e-4
    assert "List the names" not in str(resolved("alas", "instruct-7b").arms[0].slots["trainer"])
