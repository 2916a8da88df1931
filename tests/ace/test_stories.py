"""ACE on counting stories, with a model that follows its registers: what the method itself does and does not do."""

from __future__ import annotations

import dataclasses
import json
import random
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from harness_ace.offline import Offline
from harness_ace.playbook import playbook_of, words
from harness_lab_maths import world
from harness_lab_maths.maths_task import LabMaths

from harness.api import Episode, References, Request, Round, Split
from harness.errors import RunError, UsageError
from harness.evaluators.sampled import Sampled
from harness.session.service import SessionService
from harness.testing.scripted import ScriptedLM, open_session
from harness.updaters.memory import Memory
from tests.ace.stories import answer

FOLLOWS = {"reflector": "@teacher", "curator": "@teacher"}


class Stories(LabMaths):
    """The task with other words for what is right; which answers are right stays as it is, or is turned round."""

    def __init__(self, settings: Any, gold: str = "") -> None:
        super().__init__(settings)
        self._gold = gold

    def load(self, split: Split, /) -> Sequence[tuple[Episode, References]]:
        rows = super().load(split)
        if self._gold == "more":  # also an answer that nobody gives: the same bits
            return [(e, {name: (*golds, "100000") for name, golds in r.items()}) for e, r in rows]
        if self._gold == "other":
            return [(e, dict.fromkeys(r, ("100000",))) for e, r in rows]
        return rows


def opened(folder: Path, gold: str = "", train: int = 80, seed: int = 0) -> tuple[SessionService, ScriptedLM]:
    task = Stories(LabMaths.Settings(train=train, validation=20, test=5), gold)
    model = ScriptedLM(answer)
    slots = {
        "graded": ("evaluator", Sampled(Sampled.Settings(samples=1))),
        "playbook": ("updater", Memory()),
    }
    roles = {"teacher": model, "student": model}
    return open_session(folder, task, roles, slots, roles=FOLLOWS, sees="context+queries", seed=seed), model


def trainer(**settings: Any) -> Offline:
    return Offline(Offline.Settings(**{"dialect": "notes", "batch": 20, "reflections": 1, "every": 40, **settings}))


def accuracy(s: SessionService) -> float:
    """Of the same chains on test problems as the model would write them with the playbook that it has now."""
    found = s.roles["student"].memory.get("playbook", {"text": ""})
    notes = world.notes_in(str(found["text"]))
    rng = random.Random(5)
    problems = world.problems("test", 300, 1)
    chains = [(one, world.write(one, rng, notes=notes)) for one in problems for _ in range(4)]
    return fmean(world.answer_of(chain) == str(one.answer) for one, chain in chains)


def learnt(folder: Path, gold: str = "", train: int = 80, **settings: Any) -> tuple[list[Round], SessionService, Any]:
    s, model = opened(folder, gold, train)
    rounds = list(trainer(**settings).run(s.sealed))
    return rounds, s, model


def test_it_gains_and_keeps_its_gain(tmp_path: Path) -> None:
    s, _ = opened(tmp_path, train=240)
    before = accuracy(s)
    curve = [accuracy(s) for _ in trainer(batch=10, every=60).run(s.sealed)]
    assert len(curve) == 4
    assert curve[-1] > before + 0.1
    assert min(curve[1:]) > max(curve) - 0.05, "no collapse"
    shown = world.notes_in(str(s.roles["student"].memory["playbook"]["text"]))
    right = [world.PLAIN[one.split()[1].rstrip(".")] == world.HARD[one.split()[0]].sign for one in shown]
    assert sum(right) >= 8


def test_the_gain_dies_when_the_bit_is_hidden(tmp_path: Path) -> None:
    """A coin in its place leaves each verb's note right or wrong by chance: no gain in the mean over four runs."""
    before, after = [], []
    for seed in range(4):
        s, _ = opened(tmp_path / str(seed), train=100, seed=seed)
        before.append(accuracy(s))
        list(trainer(feedback="hidden", batch=25).run(s.sealed))
        after.append(accuracy(s))
        assert s.labels == set()
        s.journal.close()
    assert fmean(after) < fmean(before) + 0.06


def test_counters_outlive_what_rewriting_loses(tmp_path: Path) -> None:
    """A list that is written anew by the last insight keeps wrong ones; counters find out."""
    _, kept, _ = learnt(tmp_path / "delta", train=200)
    _, lost, _ = learnt(tmp_path / "rewrite", train=200, merge="rewrite")
    assert accuracy(kept) > accuracy(lost) + 0.02
    assert all(one.helpful == one.harmful == 0 for one in playbook_of(lost.roles["student"].memory).bullets)


def test_only_the_bit_of_a_reference_gets_in(tmp_path: Path) -> None:
    """The leak test: references of other words and the same bits change nothing at all."""
    one, a, asked_a = learnt(tmp_path / "a")
    other, b, asked_b = learnt(tmp_path / "b", gold="more")
    assert one == other
    assert asked_a.asked == asked_b.asked
    assert len(a.labels) == len(b.labels) == 80


def test_without_the_bit_references_change_nothing(tmp_path: Path) -> None:
    one, _, asked_a = learnt(tmp_path / "a", feedback="hidden")
    other, _, asked_b = learnt(tmp_path / "b", gold="other", feedback="hidden")
    assert one == other
    assert asked_a.asked == asked_b.asked


def test_every_version_is_journalled_and_replayed(tmp_path: Path) -> None:
    once, s, _ = learnt(tmp_path)
    s.journal.close()
    again, opened_again, model = learnt(tmp_path)
    assert once == again
    assert model.asked == [], "everything came from the journal"
    versions = [playbook_of(done.roles["student"].memory).version for done in again]
    assert versions == sorted(versions)
    assert versions[-1] == 4
    with sqlite3.connect(tmp_path / "journal.sqlite") as journal:
        rows = journal.execute("SELECT result FROM items WHERE kind = 'updated'").fetchall()
    booked = [json.loads(row)["state"]["memory"]["playbook"]["version"] for (row,) in rows]
    assert sorted(booked) == list(range(1, versions[-1] + 1)), "every version is there, once"
    assert playbook_of(opened_again.roles["student"].memory).version == versions[-1]


def test_the_budget_is_enforced_at_every_checkpoint(tmp_path: Path) -> None:
    rounds, _, _ = learnt(tmp_path, budget=8)
    books = [playbook_of(done.roles["student"].memory) for done in rounds]
    assert all(0 < words(book.bullets) <= 8 for book in books)
    assert rounds[-1].metrics["dropped"] > 0


def test_a_wrong_answer_is_reflected_on_again_with_the_insight_at_hand(tmp_path: Path) -> None:
    rounds, s, _ = learnt(tmp_path, reflections=3)
    assert 0 < rounds[-1].metrics["mended"] <= rounds[-1].metrics["asked again"]
    assert len(s.labels) == 80, "asked again, but of the same questions"


def test_the_best_playbook_on_validation_is_kept(tmp_path: Path) -> None:
    rounds, s, _ = learnt(tmp_path, validate=20)
    scores = [done.metrics["validated"] for done in rounds]
    best = rounds[scores.index(max(scores))]
    book = playbook_of(s.roles["student"].memory)
    assert book.version in (best.metrics["version"], 0)


def test_no_questions_and_lost_answers_are_said(tmp_path: Path) -> None:
    task = LabMaths(LabMaths.Settings(train=0, validation=0, test=5))
    model = ScriptedLM(answer)
    s = open_session(tmp_path / "none", task, {"teacher": model, "student": model}, {}, roles=FOLLOWS)
    with pytest.raises(UsageError, match="train split has none"):
        list(trainer().run(s.sealed))

    s, model = opened(tmp_path / "lost")
    real = model.generate

    def generate(asks: Sequence[Request], /) -> Any:
        return [[dataclasses.replace(one, finish="error", text="", reason="gone") for one in row] for row in real(asks)]

    model.generate = generate  # type: ignore[method-assign]
    with pytest.raises(RunError, match="gone"):
        list(trainer().run(s.sealed))
