"""PaST: one vector is trained on top of many contexts' facts, and added to every update; and nothing else is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from harness_reading.past import Past
from harness_reading.skill import WithSkill
from harness_seal.editors import Implications

from harness.api import Completion, Example, Recipe, Request, Rollout, Round, Session, Updated, UpdateJob, Updater
from harness.errors import RunError, UsageError
from harness.evaluators.sampled import Sampled
from harness.session.service import SessionService
from harness.testing.scripted import ScriptedLM, ScriptedTask, open_session


class Plain(Updater):
    """Trains whatever it is given, in the session's engine."""

    accepts = frozenset({Example, Rollout, Recipe})
    continues = True

    def __init__(self) -> None:
        self.jobs: list[UpdateJob] = []

    def apply(self, jobs: Sequence[UpdateJob], s: Session, /) -> Iterator[Updated]:
        self.jobs += jobs
        yield from s.fit([UpdateJob(j.id, j.start, j.edits, j.seed, {"rank": 1}, j.start_as) for j in jobs])


def rule(request: Request, n: int) -> str:
    if "Implications" in str(request.prompt):
        return "It follows."
    return ["right", "wrong", "other", "right"][n % 4]


def opened(folder: Path, gold: str = "right", test_gold: str = "t") -> tuple[SessionService, ScriptedLM, Plain, Plain]:
    train = {f"p{n}": (f"text {n}", {f"what is {n}?": [gold], f"where is {n}?": [gold]}) for n in range(6)}
    test = {"t0": ("text of test", {"what is t?": [test_gold]})}
    facts, steps, model = Plain(), Plain(), ScriptedLM(rule)
    slots = {
        "editor": ("editor", Implications(Implications.Settings())),
        "updater": ("updater", WithSkill(facts)),
        "skill": ("updater", steps),
        "graded": ("evaluator", Sampled(Sampled.Settings(samples=4, max_tokens=16))),
        "evaluator": ("evaluator", Sampled(Sampled.Settings(samples=1))),
    }
    task = ScriptedTask({"train": train, "validation": {}, "test": test})
    s = open_session(folder, task, {"teacher": model, "student": model}, slots, sees="context+queries")
    return s, model, facts, steps


SMALL: dict[str, Any] = {"rounds": 2, "contexts": 3, "passes": 1, "samples": 4}


def ran(folder: Path, gold: str = "right", test_gold: str = "t", **more: Any) -> tuple[list[Round], Any, Any, Any, Any]:
    s, model, facts, steps = opened(folder, gold, test_gold)
    rounds = list(Past(Past.Settings(**{**SMALL, **more})).run(s.sealed))
    return rounds, s, model, facts, steps


def test_the_vector_is_one_adapter_trained_on_top_of_each_contexts_facts(tmp_path: Path) -> None:
    rounds, s, _, facts, steps = ran(tmp_path)
    assert [job.start_as for job in steps.jobs] == ["stack", *["continue"] * 5]
    below = [job.start.adapters[0] for job in steps.jobs]
    assert len(set(below)) == 6, "other facts under every step"
    assert [len(job.start.adapters) for job in steps.jobs] == [1, 2, 2, 2, 2, 2]
    assert all(job.start.adapters == () for job in facts.jobs), "facts are learnt from the untouched model"
    vector = s.roles["student"].adapters
    assert len(vector) == 1
    assert s.context.weights.has(vector[0])
    assert vector[0] not in below
    assert s.roles["teacher"].adapters == ()
    assert [done.metrics["steps"] for done in rounds] == [3, 3]
    assert rounds[0].metrics["reward"] == pytest.approx(0.5)


def test_only_the_vector_is_kept_when_a_round_is_over(tmp_path: Path) -> None:
    _, s, *_ = ran(tmp_path)
    vector = s.roles["student"].adapters[0]
    held = s.context.weights.held()
    assert vector in held
    assert len(held) <= 2, "the vector, and the facts of the state that holds it"


def test_an_update_has_the_vector_behind_what_it_learnt(tmp_path: Path) -> None:
    _, s, _, facts, _ = ran(tmp_path)
    edit = facts.jobs[0].edits[0]
    [done] = s.update("updater", [UpdateJob("new", s.roles["student"], (edit,), 3)])
    assert done.state is not None
    learnt, *vector = done.state.adapters
    assert tuple(vector) == s.roles["student"].adapters
    [bare] = s.update("updater", [UpdateJob("bare", s.roles["teacher"], (edit,), 3)])
    assert bare.state is not None
    assert bare.state.adapters == (learnt,), "learnt as if there were no vector"


def test_rewards_are_whether_answers_are_right(tmp_path: Path) -> None:
    *_, steps = ran(tmp_path)
    data = [one for one in steps.jobs[0].edits[0].data if isinstance(one, Rollout)]
    assert {(one.action.text, one.advantage > 0) for one in data} == {
        ("right", True), ("wrong", False), ("other", False)
    }  # fmt: skip


def test_the_control_deals_the_same_rewards_at_random(tmp_path: Path) -> None:
    rounds, _, _, _, steps = ran(tmp_path, reward="random")
    assert rounds[0].metrics["reward"] == pytest.approx(0.5)
    data = [one for job in steps.jobs for one in job.edits[0].data if isinstance(one, Rollout)]
    wrong = [one for one in data if one.action.text != "right"]
    assert any(one.advantage > 0 for one in wrong)


def test_a_test_reference_changes_nothing_and_train_labels_are_counted(tmp_path: Path) -> None:
    one, s, asked, _, steps = ran(tmp_path / "a")
    other, _, asked_too, _, steps_too = ran(tmp_path / "b", test_gold="something else")
    assert one == other
    assert asked.asked == asked_too.asked
    assert steps.jobs == steps_too.jobs
    assert len(s.labels) == 12


def test_another_life_repeats_it_from_the_journal(tmp_path: Path) -> None:
    once, s, *_ = ran(tmp_path)
    s.journal.close()
    again, _, model, facts, steps = ran(tmp_path)
    assert once == again
    assert not model.asked
    assert not facts.jobs
    assert not steps.jobs


def test_nothing_right_teaches_nothing(tmp_path: Path) -> None:
    rounds, s, *_ = ran(tmp_path, gold="never said")
    assert s.roles["student"].adapters == ()
    assert all(done.metrics["steps"] == 0 and done.metrics["tied"] == 3 for done in rounds)


def test_what_it_cannot_do_is_said(tmp_path: Path) -> None:
    s, *_ = opened(tmp_path / "samples")
    with pytest.raises(UsageError, match="own samples"):
        list(Past(Past.Settings(**{**SMALL, "samples": 3})).run(s.sealed))
    s, model, *_ = opened(tmp_path / "lost")
    model.generate = lambda asks: [  # type: ignore[method-assign]
        [Completion(ask, "", finish="error", reason="gone")] * ask.n for ask in asks
    ]
    with pytest.raises(RunError, match="was lost: gone"):
        list(Past(Past.Settings(**SMALL)).run(s.sealed))
