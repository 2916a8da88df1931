"""The session: what is journalled, what is refused, what is returned."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from harness.api import (
    Ask,
    EditAsk,
    Editor,
    Episode,
    Example,
    Preference,
    Query,
    SelfEdit,
    Session,
    State,
    TrialJob,
    Updated,
    UpdateJob,
    Updater,
)
from harness.errors import PluginError, ReplayMismatch, RunError, UsageError
from harness.testing import ScriptedLM, ScriptedTask
from tests.session import parts


@pytest.fixture
def lm() -> ScriptedLM:
    return ScriptedLM(parts.knows_after_training)


def test_a_round_learns_and_a_second_life_repeats_it_without_asking(tmp_path: Path, lm: ScriptedLM) -> None:
    first = parts.session(tmp_path, lm)
    before = parts.one_round(first)
    assert [r.value for g in before["groups"] for r in g.rewards] == [1.0] * 4
    first.journal.close()
    asked = len(lm.asked)

    second = parts.session(tmp_path, lm)
    after = parts.one_round(second)
    assert after == before
    assert len(lm.asked) == asked
    assert second.journal.ran == 0
    assert second.journal.reused > 0


def test_a_method_sees_no_queries_and_no_values_of_the_test_split(tmp_path: Path, lm: ScriptedLM) -> None:
    s = parts.session(tmp_path, lm)
    assert all(episode.queries == () for episode in s.episodes("train"))
    [scores] = s.evaluate([Ask(s.roles["student"], episode) for episode in s.episodes("test")])
    assert [score.value for score in scores] == [None]
    [known] = s.evaluate([Ask(s.roles["student"], episode) for episode in s.episodes("validation")])
    assert [score.value for score in known] == [0.0]


def test_an_evaluator_is_picked_by_its_slot(tmp_path: Path, lm: ScriptedLM) -> None:
    class Lenient(parts.Exact):
        def evaluate(self, asks: Any, references: Any, s: Any, /) -> Any:
            for row in super().evaluate(asks, references, s):
                yield [dataclasses.replace(score, value=0.5) for score in row]

    s = parts.session(tmp_path, lm, lenient=("evaluator", Lenient()))
    asks = [Ask(s.roles["student"], episode) for episode in s.episodes("validation")]
    assert [score.value for row in s.sealed.evaluate(asks) for score in row] == [0.0]
    assert [score.value for row in s.sealed.evaluate(asks, name="lenient") for score in row] == [0.5]
    hidden = s.sealed.evaluate([Ask(s.roles["student"], e) for e in s.episodes("test")], "lenient")
    assert [score.value for row in hidden for score in row] == [None]
    with pytest.raises(UsageError, match=r"no evaluator slot 'lenent'\. Did you mean 'lenient'"):
        s.sealed.evaluate(asks, name="lenent")


def test_a_trial_refuses_test_episodes(tmp_path: Path, lm: ScriptedLM) -> None:
    s = parts.session(tmp_path, lm)
    [episode] = s.episodes("test")
    edit = SelfEdit("e", episode.id, (Example("", "bees hum"),))
    with pytest.raises(PluginError, match="may not use test episode 'bees'"):
        s.trial([TrialJob(UpdateJob("j", s.roles["student"], (edit,), 0), (episode,))])


def test_failed_edits_count_as_wrong_and_errors_have_no_value(tmp_path: Path, lm: ScriptedLM) -> None:
    s = parts.session(tmp_path, lm)
    [cats, _] = s.episodes("train")
    failed = SelfEdit("f", cats.id, (), status="failed", reason="not JSON")
    broken = SelfEdit("b", cats.id, (Example("", "x"),), status="error", reason="the endpoint is down")
    jobs = [TrialJob(UpdateJob(e.id, s.roles["student"], (e,), 0), (cats,)) for e in (failed, broken)]
    [wrong], [absent] = s.trial(jobs)
    assert (wrong.value, wrong.status, wrong.measures["reason"]) == (0.0, "failed", "not JSON")
    assert (absent.value, absent.status) == (None, "error")


def test_an_edit_of_another_kind_than_the_updater_learns_from_fails(tmp_path: Path, lm: ScriptedLM) -> None:
    s = parts.session(tmp_path, lm)
    [cats, _] = s.episodes("train")
    edit = SelfEdit("p", cats.id, (Preference("q", "a", "b"),))
    [updated] = s.update("updater", [UpdateJob("j", s.roles["student"], (edit,), 0)])
    assert (updated.state, updated.status) == (None, "failed")
    assert "cannot learn from Preference" in updated.reason


def test_errors_are_tried_again_in_the_next_life(tmp_path: Path) -> None:
    class Flaky(ScriptedLM):
        down = True

        def generate(self, asks: Any, /) -> Any:
            rows = super().generate(asks)
            if not self.down:
                return rows
            return [[dataclasses.replace(c, text="", finish="error", reason="503") for c in row] for row in rows]

    lm = Flaky(parts.knows_after_training)
    s = parts.session(tmp_path, lm)
    asks = [EditAsk(e, s.roles["teacher"], 1, 0) for e in s.episodes("train")]
    assert {edit.status for group in s.propose("teacher", asks) for edit in group.edits} == {"error"}
    s.journal.close()
    lm.down = False
    s = parts.session(tmp_path, lm)
    assert {edit.status for group in s.propose("teacher", asks) for edit in group.edits} == {"ok"}


def test_another_call_than_the_recorded_one_stops_with_both_named(tmp_path: Path, lm: ScriptedLM) -> None:
    s = parts.session(tmp_path, lm)
    parts.one_round(s)
    s.journal.close()
    s = parts.session(tmp_path, lm)
    with pytest.raises(ReplayMismatch, match="call 0 was edits by 'Writer' and is now evaluate by 'Exact'"):
        s.evaluate([Ask(s.roles["student"], episode) for episode in s.episodes("validation")])


def test_weights_of_an_update_stay_until_released(tmp_path: Path, lm: ScriptedLM) -> None:
    s = parts.session(tmp_path, lm)
    state = parts.one_round(s)["state"]
    [adapter] = state.adapters
    assert (tmp_path / "weights" / adapter / "adapter_model.safetensors").is_file()
    s.release([state])
    assert not (tmp_path / "weights" / adapter).exists()
    s.journal.close()
    again = parts.session(tmp_path, lm)
    assert parts.one_round(again)["state"] == state, "released weights do not stand in the way of a replay"


def test_trials_leave_no_weights_behind(tmp_path: Path, lm: ScriptedLM) -> None:
    s = parts.session(tmp_path, lm)
    s.reward(s.propose("teacher", [EditAsk(e, s.roles["teacher"], 2, 0) for e in s.episodes("train")]))
    assert list((tmp_path / "weights").iterdir()) == []


def test_a_role_follows_another_until_it_is_set(tmp_path: Path, lm: ScriptedLM) -> None:
    s = parts.session(tmp_path, lm)
    new = State(lm.base, ("a",))
    s.roles["teacher"] = new
    assert s.roles["student"] == new
    s.roles["student"] = State(lm.base)
    assert s.roles["teacher"] == new
    with pytest.raises(UsageError, match=r"there is no role 'studnet'\. Did you mean 'student'"):
        s.roles["studnet"]


def test_two_processes_cannot_write_one_run(tmp_path: Path, lm: ScriptedLM) -> None:
    first = parts.session(tmp_path, lm)
    with pytest.raises(RunError, match="is being written by another process"):
        parts.session(tmp_path, lm)
    first.journal.close()


class Broken(Editor, Updater):
    accepts = frozenset({Example})

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Any:
        if self.fault == "raises":
            raise ZeroDivisionError("division by zero")
        return [] if self.fault == "short" else [["text"] for _ in asks]

    def apply(self, jobs: Sequence[UpdateJob], s: Session, /) -> Iterator[Updated]:
        if self.fault == "stranger":
            yield Updated("nobody", None, "failed")
        elif self.fault == "stateless":
            yield Updated(jobs[0].id, None, "ok")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("short", "gave 0 lists for 2 asks"),
        ("type", "gave a str, not a SelfEdit"),
        ("raises", "raised ZeroDivisionError: division by zero .*test_session.py:"),
    ],
)
def test_a_broken_editor_is_named(tmp_path: Path, lm: ScriptedLM, fault: str, said: str) -> None:
    s = parts.session(tmp_path, lm, editor=("editor", Broken(fault)))
    with pytest.raises(PluginError, match=said):
        s.propose("teacher", [EditAsk(e, s.roles["teacher"], 1, 0) for e in s.episodes("train")])


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("silent", "gave no answer for job 'j'"),
        ("stranger", "answered for job 'nobody'"),
        ("stateless", "must have a state exactly when its status is ok"),
    ],
)
def test_a_broken_updater_is_named(tmp_path: Path, lm: ScriptedLM, fault: str, said: str) -> None:
    s = parts.session(tmp_path, lm, updater=("updater", Broken(fault)))
    [cats, _] = s.episodes("train")
    edit = SelfEdit("e", cats.id, (Example("", "cats purr"),))
    with pytest.raises(PluginError, match=said):
        s.update("updater", [UpdateJob("j", s.roles["student"], (edit,), 0)])


def test_references_reach_the_evaluator_alone(tmp_path: Path) -> None:
    """The canary: references replaced by unique strings are in no prompt and in no line of the journal."""
    canary = "CANARY-7f3a"
    lm = ScriptedLM(lambda request, index: "an answer")
    world = ScriptedTask(
        {split: {split: (f"text of {split}", {f"question of {split}": [f"{canary}-{split}"]})}
         for split in ("train", "validation", "test")}
    )  # fmt: skip
    s = parts.session(tmp_path, lm, world)
    parts.one_round(s)
    s.evaluate([Ask(s.roles["student"], episode) for episode in s.episodes("test")])
    assert not any(canary in str(request) for request in lm.asked)
    s.journal.close()
    database = sqlite3.connect(tmp_path / "journal.sqlite")
    for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        assert canary not in json.dumps(database.execute(f"SELECT * FROM {table}").fetchall())


def test_made_episodes_bring_their_own_references(tmp_path: Path, lm: ScriptedLM) -> None:
    s = parts.session(tmp_path, lm)
    [made] = s.make([Episode("m", "made", {"text": "owls hoot"})], {"m": {}})
    assert made.split == "made"
    with pytest.raises(PluginError, match="a method's own must be 'made'"):
        s.make([Episode("n", "train", {})], {})


def test_two_different_made_episodes_have_two_names(tmp_path: Path, lm: ScriptedLM) -> None:
    """The second one's questions would be marked by the first one's references."""
    s = parts.session(tmp_path, lm)
    query = Query("m/0", "what do owls do?")
    owls = Episode("m", "made", {"text": "owls hoot"}, (query,), parent="a")
    s.make([owls], {"m": {"m/0": ("hoot",)}})
    s.make([replace(owls, parent="b")], {"m": {"m/0": ("hoot",)}})
    for other, references in (
        (replace(owls, context={"text": "owls fly"}), {"m/0": ("hoot",)}),
        (replace(owls, queries=(Query("m/0", "who hoots?"),)), {"m/0": ("hoot",)}),
        (owls, {"m/0": ("fly",)}),
    ):
        with pytest.raises(PluginError, match="two different episodes are called 'm'"):
            s.make([other], {"m": references})
    s.context.episodes.forget_made()
    [other] = s.make([replace(owls, context={"text": "owls fly"})], {"m": {"m/0": ("fly",)}})
    assert s.context.episodes.references(["m"]) == {"m": {"m/0": ("fly",)}}


def test_a_model_says_how_much_a_kill_may_cost(tmp_path: Path) -> None:
    """If one training takes minutes, few are journalled together, whatever the updater's own wave is."""

    class Slow(ScriptedLM):
        wave = 2
        seen: ClassVar[list[int]] = []

        def train(self, items: Any, loss: str | Any = "sft") -> Any:
            self.seen.append(len(items))
            if len(self.seen) == 3:
                raise RunError("the machine goes down")
            return super().train(items, loss)

    lm = Slow(parts.knows_after_training)
    s = parts.session(tmp_path, lm)
    [cats, _] = s.episodes("train")
    edits = [SelfEdit(f"e{i}", cats.id, (Example("", f"cats purr {i}"),)) for i in range(5)]
    jobs = [TrialJob(UpdateJob(e.id, s.roles["student"], (e,), i), (cats,)) for i, e in enumerate(edits)]
    with pytest.raises(RunError, match="goes down"):
        s.trial(jobs)
    assert lm.seen == [2, 2, 1]
    assert s.journal.ran_of["trial", "Fit"] == 4
    s.journal.close()
    again = parts.session(tmp_path, lm)
    assert len(again.trial(jobs)) == 5
    assert lm.seen == [2, 2, 1, 1], "what was booked is not done again"
