"""SimPLE: neighbours, suspicion, votes, and a loop that reads no reference."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from harness_selection.claims import LabClaims
from harness_selection.reliability import decided, neighbours, reliable, suspicion
from harness_selection.simple import Simple
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.api import Round
from harness.errors import UsageError
from harness.evaluators.closed_book import ClosedBook
from harness.session.service import SessionService
from harness.testing import TrainerContract
from harness.testing.scripted import ScriptedLM, open_session
from tests.learning import Learner
from tests.selection.test_icm import Asked, embedded

SMALL: Mapping[str, Any] = {"names": (" true", " false"), "end": ".", "passes": 3, "neighbours": 4}


class TestSimple(TrainerContract):
    component = Simple
    sees = "context+queries"
    settings: ClassVar[Mapping[str, Any]] = {"passes": 2}
    slots: ClassVar[Mapping[str, tuple[str, Any]]] = {"sft": ("updater", Learner())}


# --- the test of labels ---


def test_neighbours_are_strictly_nearer_than_the_kth() -> None:
    line = np.array([[0.0], [1.0], [3.0], [7.0], [100.0]])
    assert [near.tolist() for near in neighbours(line, 3)] == [[0, 1], [0, 1], [1, 2], [2, 3], [3, 4]]
    assert all(
        len(near) == 8 and i in near
        for i, near in enumerate(neighbours(np.random.default_rng(1).normal(size=(700, 3)), 9))
    )
    assert [near.tolist() for near in neighbours(line[:2], 9)] == [[0], [1]]


def test_suspicion_by_hand() -> None:
    """Three nodes on a line, k = 3: the middle one has one neighbour, itself excluded from no sum."""
    z = suspicion(np.array([[0.0], [1.0], [3.0]]), [True, False, True], 3)
    weights = np.array([1.0, 1 / 2])
    p = 2 / 3
    mean, deviation = (1 - p) * weights.sum(), math.sqrt(p * (1 - p) * (weights**2).sum())
    assert z[0] == pytest.approx((0.5 - mean) / deviation)


def test_labels_that_neighbours_contradict_are_found() -> None:
    """Two clouds with a tenth of the labels turned round: what is dropped is wrong far more often than what is kept."""
    draw = np.random.default_rng(3)
    truth = [i % 2 == 0 for i in range(200)]
    points = np.array([draw.normal(3.0 if label else -3.0, 1.0, 2) for label in truth])
    turned = set(random.Random(3).sample(range(200), 20))
    labels = [label != (i in turned) for i, label in enumerate(truth)]
    keep = reliable(suspicion(points, labels, 9), 0.2)
    assert keep.sum() == 160
    assert sum(keep[i] for i in turned) == 0
    assert all(suspicion(points, [True] * 200, 9) == 0)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-5, 5, allow_nan=False), max_size=30), st.floats(0, 0.99))
def test_the_largest_share_is_dropped(z: list[float], drop: float) -> None:
    values = np.array(z)
    keep = reliable(values, drop)
    assert (~keep).sum() == int(drop * len(z))
    assert not keep.any() or keep.all() or values[keep].max() <= values[~keep].min()


def test_ties_and_the_untrusted_take_the_plain_label() -> None:
    assert decided([True, True, False], [True, True, True], False) is True
    assert decided([True, True, False], [False, False, True], True) is False
    for plain in (True, False):
        assert decided([True, False], [True, True], plain) is plain
        assert decided([True, True], [False, False], plain) is plain


# --- the loop ---


def ran(
    folder: Path, concept: str = "more", model: Any = None, **own: Any
) -> tuple[list[Round], Any, Learner, SessionService]:
    model, learner = model or Asked(), Learner()
    slots: dict[str, tuple[str, Any]] = {"sft": ("updater", learner)}
    slots |= {name: ("evaluator", ClosedBook(ClosedBook.Settings(max_tokens=4))) for name in ("evaluator", "oracle")}
    task = LabClaims(LabClaims.Settings(train=16, test=4, concept=concept))  # type: ignore[arg-type]
    roles = {"student": "@teacher", "embedder": "@teacher"}
    s = open_session(folder, task, {"teacher": model}, slots, roles=roles, sees="context+queries")
    rounds = list(Simple(Simple.Settings(**{**SMALL, **own})).run(s.sealed))
    s.journal.close()
    return rounds, model, learner, s


@pytest.mark.parametrize("embedder", [False, True])
def test_what_is_right_changes_nothing(tmp_path: Path, embedder: bool) -> None:
    """The leak test: the references mean another thing; requests, labels, updates and rounds are the same."""
    one = ran(tmp_path / "a", "more", embedder=embedder)
    other = ran(tmp_path / "b", "even", embedder=embedder)
    assert one[0] == other[0]
    assert one[1].scored == other[1].scored
    assert one[2].jobs == other[2].jobs
    assert one[3].labels == other[3].labels == set()
    assert one[3].diagnoses != other[3].diagnoses


def test_passes_are_stochastic_and_repeatable(tmp_path: Path) -> None:
    rounds, model, learner, _ = ran(tmp_path)
    passes = [one["dropout"] for one in model.scored if isinstance(one, dict) and one]
    assert len(passes) == len(set(passes)) == 3
    assert {one.rate for one in passes} == {0.1}
    assert {edit.data[0].target for edit in learner.jobs[0].edits} == {" true.", " false."}  # type: ignore[union-attr]
    again, model, learner, _ = ran(tmp_path)
    assert again == rounds
    assert not model.scored
    assert not learner.jobs


def test_controls(tmp_path: Path) -> None:
    made = {}
    for labels in ("simple", "plain", "voted", "oracle"):
        _, _, learner, s = ran(tmp_path / labels, labels=labels)
        made[labels] = [edit.data[0].target for edit in learner.jobs[0].edits]  # type: ignore[union-attr]
        assert bool(s.labels) == (labels == "oracle")
    assert len({tuple(row) for row in made.values()}) == 4


def test_a_model_without_dropout_is_refused(tmp_path: Path) -> None:
    plain = ScriptedLM({}, can=frozenset({"generate", "logprobs", "hidden", "train", "seed"}))
    with pytest.raises(UsageError, match="no dropout passes"):
        ran(tmp_path, model=plain)
    with pytest.raises(UsageError, match="two different labels"):
        Simple(Simple.Settings(names=(" a", " a")))


def test_kept_passes_of_the_embedded_model_are_right_more_often(tmp_path: Path) -> None:
    s = embedded(tmp_path / "run", train=80, test=2, gap=12)
    own = {**SMALL, "passes": 7, "neighbours": 9}
    list(Simple(Simple.Settings(**own)).run(s.sealed))
    (kept, of_kept), (dropped, of_dropped) = s.diagnoses["kept pass"], s.diagnoses["dropped pass"]
    assert kept / of_kept > dropped / of_dropped + 0.05
