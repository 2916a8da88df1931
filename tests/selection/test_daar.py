"""DaaR: clusters, probes, what is selected, and a loop that reads no reference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from harness_lab_maths import world
from harness_selection.daar import Daar
from harness_selection.domains import Probe, entropy, kmeans
from harness_selection.pool import DOMAINS, LabPool

from harness.api import Episode, References, Round, Split, State
from harness.errors import UsageError
from harness.session.service import SessionService
from harness.testing import TaskContract, TrainerContract, components
from harness.testing.scripted import ScriptedLM, ScriptedTask, open_session
from tests.learning import Learner

SEEDS = {"one": ("a b", "a c"), "two": ("d e",)}
QUICK: Mapping[str, Any] = {"rate": 1e-2, "epochs": 2, "batch": 8}


class Pairs(ScriptedTask):
    """The scripted world, whose training episodes have responses."""

    def load(self, split: Split, /) -> Any:
        import dataclasses

        rows = super().load(split)
        if split != "train":
            return rows
        return [(dataclasses.replace(e, context={**e.context, "response": f"about {e.id}"}), gold) for e, gold in rows]


class TestDaar(TrainerContract):
    component = Daar
    sees = "context+queries"
    settings: ClassVar[Mapping[str, Any]] = {"seeds": SEEDS, "share": 0.5, **QUICK}
    slots: ClassVar[Mapping[str, tuple[str, Any]]] = {"sft": ("updater", Learner())}

    def task(self) -> Any:
        return Pairs(super().task().splits)


class TestLabPool(TaskContract):
    component = LabPool
    settings: ClassVar[Mapping[str, Any]] = {"train": 8, "validation": 4, "test": 8}


# --- the parts ---


def cloud(
    seed: int, counts: tuple[int, ...] = (30, 30, 30)
) -> tuple[np.ndarray[Any, Any], list[int], np.ndarray[Any, Any]]:
    """Points around three corners, whose they are, and the corners."""
    draw = np.random.default_rng(seed)
    corners = 6 * np.eye(3, 16)
    whose = [place for place, count in enumerate(counts) for _ in range(count)]
    return np.array([corners[place] + draw.normal(size=16) for place in whose]), whose, corners


def test_clusters_begin_at_the_centres_and_keep_their_numbers() -> None:
    points, whose, corners = cloud(1)
    assert kmeans(points, corners).tolist() == whose
    assert kmeans(points, corners[[2, 0, 1]]).tolist() == [[1, 2, 0][place] for place in whose]
    far = np.vstack([corners, 1e6 * np.eye(16)[15:]])
    assert set(kmeans(points, far).tolist()) == {0, 1, 2}, "an empty cluster keeps its centre"


def test_entropy_is_in_nats() -> None:
    assert entropy(np.array([[0.5, 0.5], [1.0, 0.0]])) == pytest.approx([np.log(2), 0.0], abs=1e-9)


def test_a_probe_is_unsure_between_domains() -> None:
    points, whose, corners = cloud(2)
    between = np.array([(corners[0] + corners[1]) / 2, (corners[1] + corners[2]) / 2])
    probe = Probe(16, 3, 1, rate=1e-3, epochs=10, batch=8)
    found = probe.classify(points, whose)
    assert (found.argmax(1) == whose).mean() > 0.95
    unsure = entropy(probe.probabilities(between))
    assert unsure.min() > np.median(entropy(found))
    head = Probe(16, 1, 2, rate=1e-3, epochs=30, batch=8)
    predicted = head.regress(np.vstack([points, between]), np.concatenate([entropy(found), unsure]))
    assert predicted[-2:].mean() > np.median(predicted)


def test_a_probe_is_its_seeds_and_leaves_the_global_generator_alone() -> None:
    points, whose, _ = cloud(3)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one = Probe(16, 3, 1, rate=1e-2, epochs=1, batch=8).classify(points, whose)
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(3)
    assert (one == Probe(16, 3, 1, rate=1e-2, epochs=1, batch=8).classify(points, whose)).all()
    assert (one != Probe(16, 3, 2, rate=1e-2, epochs=1, batch=8).classify(points, whose)).any()


# --- the pool ---


def domains_of(episode: Episode) -> set[str]:
    problem = world.parse(str(episode.context["text"]))
    assert problem is not None
    return {name for verb, _ in problem.events for name, verbs in DOMAINS.items() if verb in verbs}


def loaded(**own: Any) -> Any:
    return LabPool(LabPool.Settings(**own)).load


def test_the_pool_has_right_responses_and_the_test_does_not_depend_on_it() -> None:
    load = loaded(train=60, test=50)
    for episode, gold in load("train"):
        [[answer]] = gold.values()
        assert world.answer_of(str(episode.context["response"])) == answer
    one = loaded(train=40, domains=("rare-one",))
    assert all(domains_of(episode) == {"rare-one"} for episode, _ in one("train"))
    kinds = [frozenset(domains_of(episode)) for episode, _ in load("test")]
    assert {frozenset([name]) for name in DOMAINS} < set(kinds)
    assert any(len(kind) > 1 for kind in kinds)
    assert not any("response" in episode.context for episode, _ in load("test"))
    with pytest.raises(UsageError, match=r"task\.domains"):
        loaded(domains=("plane",))


# --- the loop ---


def ran(folder: Path, task: Any = None, **own: Any) -> tuple[list[Round], ScriptedLM, Learner, SessionService]:
    model, learner = ScriptedLM({}), Learner()
    task = task or LabPool(LabPool.Settings(train=30, test=4))
    roles = {"student": "@teacher", "embedder": "@teacher"}
    slots: dict[str, tuple[str, Any]] = {"sft": ("updater", learner)}
    s = open_session(folder, task, {"teacher": model}, slots, roles=roles, sees="context+queries")
    rounds = list(Daar(Daar.Settings(**{"seeds": SEEDS, **QUICK, **own})).run(s.sealed))
    s.journal.close()
    return rounds, model, learner, s


class Swapped(LabPool):
    """Other references."""

    def load(self, split: Split, /) -> list[tuple[Episode, References]]:
        return [(episode, dict.fromkeys(gold, ("7",))) for episode, gold in super().load(split)]


@pytest.mark.parametrize("select", ["daar", "random", "all"])
def test_what_is_right_changes_nothing(tmp_path: Path, select: str) -> None:
    one = ran(tmp_path / "a", select=select)
    other = ran(tmp_path / "b", Swapped(Swapped.Settings(train=30, test=4)), select=select)
    assert one[0] == other[0]
    assert one[2].jobs == other[2].jobs
    assert one[3].labels == other[3].labels == set()
    assert len(one[2].jobs[0].edits) == (30 if select == "all" else 6)


def test_the_highest_predicted_entropy_is_learnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Probe, "values", lambda self, states: -states[:, 0])
    _, model, learner, s = ran(tmp_path, read="{text}")
    texts = [str(episode.context["text"]) for episode in s.episodes("train")]
    # The start's states: the loop has trained since, and the scripted model's states hang on the weights.
    states = model.hidden([(State(model.base), text) for text in texts], layer=3)
    wanted = sorted(range(30), key=lambda place: states[place][0])[:6]
    assert [edit.episode for edit in learner.jobs[0].edits] == [s.episodes("train")[i].id for i in sorted(wanted)]


def test_a_selection_is_its_seeds(tmp_path: Path) -> None:
    once, again = ran(tmp_path / "a"), ran(tmp_path / "b")
    assert once[2].jobs == again[2].jobs
    assert ran(tmp_path / "a")[1].asked == []


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="two domains or more"):
        ran(tmp_path / "a", seeds={})
    with pytest.raises(UsageError, match="no 'response'"):
        ran(tmp_path / "b", components.world())
