"""The four methods in real sessions, with models that answer from a rule; what they do not read changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from harness_label_free.evol_rl import EvolRl
from harness_label_free.lmsi import Lmsi
from harness_label_free.r_zero import RZero
from harness_label_free.ttrl import Ttrl

from harness.api import Request, Rollout, Round
from harness.errors import RunError, UsageError
from harness.evaluators.sampled import Sampled
from harness.session.service import SessionService
from harness.testing.scripted import ScriptedLM, open_session
from tests.learning import Learner, lose, numbers

WRITTEN = ["a: 7", "b: 7", "c: 3", "?", "a: 7", "d: 5"]
"""Answers by sample index: three say 7 in two ways, one says nothing."""


def answer(request: Request, n: int) -> str:
    if str(request.prompt).startswith("write"):
        return ["<question>made one</question>", "<question>made two</question>", "nonsense"][n % 3]
    return WRITTEN[n % len(WRITTEN)]


def opened(
    folder: Path, gold: str = "7", rule: Any = answer, slots: Sequence[str] = ("policy", "sft"), told: str = ""
) -> tuple[SessionService, ScriptedLM, Learner]:
    model, learner = ScriptedLM(rule), Learner()
    built: dict[str, tuple[str, Any]] = {"evaluator": ("evaluator", Sampled(Sampled.Settings(samples=6)))}
    built |= dict.fromkeys(slots, ("updater", learner))
    built |= {"oracle": ("evaluator", Sampled(Sampled.Settings(samples=1)))}
    roles = {"student": model} if "solver" in slots else {"embedder": model}
    follows = {} if "solver" in slots else {"student": "@teacher"}
    task = numbers(gold, ("train", "test"), told or "a text")
    s = open_session(folder, task, {"teacher": model, **roles}, built, roles=follows, sees="context+queries")
    return s, model, learner


SMALL: Mapping[str, Any] = {"rounds": 2, "steps": 2, "contexts": 2, "samples": 6, "trained": 4}
METHODS = {
    "lmsi": (Lmsi(Lmsi.Settings(rounds=2, samples=6, contexts=2)), ("sft",)),
    "ttrl": (Ttrl(Ttrl.Settings(**SMALL)), ("policy",)),
    "evol-rl": (EvolRl(EvolRl.Settings(**SMALL)), ("policy",)),
    "r-zero": (
        RZero(
            RZero.Settings(
                rounds=2, prompt="write", challenger_steps=2, generations=6, group=3, pool=6, solver_steps=2,
                contexts=2, samples=6, judged_by=6, labelled_by=6,
            )
        ),
        ("challenger", "solver"),
    ),
}  # fmt: skip


def ran(folder: Path, name: str, **more: Any) -> tuple[list[Round], ScriptedLM, Learner, SessionService]:
    method, slots = METHODS[name]
    s, model, learner = opened(folder, slots=slots, **more)
    rounds = list(method.run(s.sealed))
    s.journal.close()
    return rounds, model, learner, s


@pytest.mark.parametrize("name", METHODS)
def test_what_is_right_changes_nothing(tmp_path: Path, name: str) -> None:
    """The leak test: other references, the same requests, updates, states and rounds."""
    one = ran(tmp_path / "a", name, gold="7")
    other = ran(tmp_path / "b", name, gold="3")
    assert one[0] == other[0]
    assert one[1].asked == other[1].asked
    assert one[2].jobs == other[2].jobs
    assert one[3].labels == other[3].labels == set()


@pytest.mark.parametrize("name", METHODS)
def test_another_life_repeats_it_from_the_journal(tmp_path: Path, name: str) -> None:
    once = ran(tmp_path, name)[0]
    again, model, learner, _ = ran(tmp_path, name)
    assert once == again
    assert not model.asked
    assert not learner.jobs


@pytest.mark.parametrize("name", METHODS)
def test_a_lost_answer_stops_the_loop_and_is_no_wrong_answer(tmp_path: Path, name: str) -> None:
    method, slots = METHODS[name]
    s, model, _ = opened(tmp_path, slots=slots)
    lose(model)
    with pytest.raises(RunError, match="gone"):
        list(method.run(s.sealed))


def test_lmsi_learns_every_chain_of_the_majority_in_every_format(tmp_path: Path) -> None:
    s, _, learner = opened(tmp_path)
    formats = (("{prompt}", "{text}"), ("Q: {question}", "so {answer}"))
    [done] = Lmsi(Lmsi.Settings(samples=6, formats=formats)).run(s.sealed)
    [job] = learner.jobs
    assert [example.target for example in job.edits[0].data] == ["a: 7", "so 7", "b: 7", "so 7", "a: 7", "so 7"]
    assert job.edits[0].data[1].prompt == "Q: What is 0 of train?"
    assert done.metrics["chains"] == 12
    assert done.metrics["agreement"] == pytest.approx(0.5)
    assert done.metrics["unanswered"] == pytest.approx(1 / 6)
    assert done.roles["student"] == done.roles["teacher"] != s.roles["embedder"]


def test_lmsi_leaves_out_what_few_agree_on(tmp_path: Path) -> None:
    s, _, learner = opened(tmp_path)
    [done] = Lmsi(Lmsi.Settings(samples=6, confidence=0.6)).run(s.sealed)
    assert not learner.jobs
    assert done.metrics["note"] == "no chain was kept: the policy stays as it was"


def test_ttrl_rewards_agreement_and_trains_the_first_ones(tmp_path: Path) -> None:
    s, model, learner = opened(tmp_path)
    list(Ttrl(Ttrl.Settings(rounds=1, steps=1, contexts=2, samples=6, trained=4)).run(s.sealed))
    assert {request.n for request in model.asked} == {6}
    assert all(" of test?" in str(request.prompt) for request in model.asked), "the test questions are its own"
    [job] = learner.jobs
    data = [item for item in job.edits[0].data if isinstance(item, Rollout)]
    assert [item.action.text for item in data] == WRITTEN[:4]
    assert [item.advantage > 0 for item in data] == [True, True, False, False]
    assert sum(item.advantage for item in data) == pytest.approx(0)


def test_a_later_step_goes_on_with_the_adapter(tmp_path: Path) -> None:
    _, _, learner, s = ran(tmp_path, "ttrl")
    assert [job.start_as for job in learner.jobs] == ["stack", "continue", "continue", "continue"]
    assert all(len(job.start.adapters) == (job.start_as == "continue") for job in learner.jobs)
    assert len(s.roles["teacher"].adapters) == 1


def test_groups_of_one_opinion_are_left_out(tmp_path: Path) -> None:
    s, _, learner = opened(tmp_path, rule=lambda request, n: "a: 7")
    [done] = Ttrl(Ttrl.Settings(rounds=1, steps=1, contexts=2, samples=6, trained=4)).run(s.sealed)
    assert not learner.jobs
    assert done.metrics["tied"] == 1.0
    assert done.metrics["note"] == "every group was tied: nothing to learn"


def test_evol_rl_rewards_the_novel_among_the_majority(tmp_path: Path) -> None:
    s, _, learner = opened(tmp_path)
    settings = EvolRl.Settings(rounds=1, steps=1, contexts=1, samples=6, trained=6, similarity="ngrams", ngram=1)
    [done] = EvolRl(settings).run(s.sealed)
    [job] = learner.jobs
    of = {}
    for item in job.edits[0].data:
        assert isinstance(item, Rollout)
        of.setdefault(item.action.text, []).append(item.advantage)
    assert of["b: 7"][0] > of["a: 7"][0] == of["a: 7"][1] > 0 > of["c: 3"][0] > of["?"][0]
    assert -1 <= done.metrics["reward"] <= 1


def test_unanimous_groups_are_trained_on_for_novelty_or_left_out(tmp_path: Path) -> None:
    def rule(request: Request, n: int) -> str:
        return f"{'ab'[n > 3]}: 7"

    common = {**SMALL, "rounds": 1, "steps": 1, "trained": 6, "similarity": "ngrams", "ngram": 1}
    s, _, learner = opened(tmp_path / "on", rule=rule)
    list(EvolRl(EvolRl.Settings(**common)).run(s.sealed))
    assert learner.jobs
    s, _, learner = opened(tmp_path / "off", rule=rule)
    list(EvolRl(EvolRl.Settings(**common, unanimous=False)).run(s.sealed))
    assert not learner.jobs


def test_r_zero_trains_each_role_while_the_other_is_frozen(tmp_path: Path) -> None:
    rounds, model, learner, s = ran(tmp_path, "r-zero")
    first = [job for job in learner.jobs if "/0/" in job.id]
    assert ["challenge" in job.id for job in first] == [True, True, False, False]
    assert s.roles["teacher"] != s.roles["student"]
    asked = [request.state for request in model.asked if "made" in str(request.prompt)]
    assert rounds[0].roles["teacher"] not in asked, "the challenger is never asked its own problems"
    assert rounds[0].roles["student"] in asked, "the next challenger faces the trained solver"
    metrics = rounds[0].metrics
    assert metrics["survivors"] == metrics["pool_different"] == 2  # shares of 3 in 5 parsed answers
    assert metrics["challenger_well_formed"] == pytest.approx(2 / 3)
    # Half of ten answers agree: 0.5, and each problem is a third of the batch; the malformed one is at -1 - 1/3.
    assert metrics["challenger_reward"] == pytest.approx((0.5 + 0.5 - 1) / 3 - 1 / 3)
    assert metrics["challenger_medium_first"] == 1, "both that can be read are answered alike half of the time"


def test_of_no_problem_at_all_there_is_no_agreement(tmp_path: Path) -> None:
    """Not an agreement of 0, which would be a solver that never agrees with itself."""
    [first, _], *_ = ran(tmp_path, "r-zero", rule=lambda request, n: "I would rather not.")
    assert first.metrics["challenger_well_formed"] == first.metrics["survivors"] == 0
    assert not [name for name in first.metrics if "agreement" in name or "medium" in name]
    assert "solver stays" in str(first.metrics["note"])


def test_pseudo_labels_of_made_problems_are_diagnosed_where_the_task_can_solve_them(tmp_path: Path) -> None:
    *_, s = ran(tmp_path, "r-zero")
    assert s.diagnoses == {"pseudo-label, iteration 1": (2, 2), "pseudo-label, iteration 2": (2, 2)}


def test_a_problem_of_the_test_is_dropped(tmp_path: Path) -> None:
    """It wrote what it will be tested on, word for word: nobody may learn from it, and the loop goes on."""
    stolen = "How many of the four towns of this test lie on the sea?"

    def rule(request: Request, n: int) -> str:
        if str(request.prompt).startswith("write"):
            return [f"<question>{stolen}</question>", "<question>made one</question>"][n % 2]
        return WRITTEN[n % len(WRITTEN)]

    rounds, model, _, _ = ran(tmp_path, "r-zero", rule=rule, told=stolen)
    assert rounds[0].metrics["pool_different"] == 2
    assert rounds[0].metrics["survivors"] == 1
    assert not any(stolen in str(request.prompt) for request in model.asked)


def test_the_oracle_is_a_control_that_costs_labels(tmp_path: Path) -> None:
    s, _, learner = opened(tmp_path, gold="3")
    list(Lmsi(Lmsi.Settings(samples=6, temperature=1.0, labels="oracle", contexts=2)).run(s.sealed))
    assert [example.target for edit in learner.jobs[0].edits for example in edit.data] == ["c: 3", "c: 3"]
    assert len(s.labels) == 2


def test_the_oracle_must_have_seen_the_very_same_samples(tmp_path: Path) -> None:
    s, _, _ = opened(tmp_path, gold="3")
    with pytest.raises(UsageError, match="own temperature"):
        list(Lmsi(Lmsi.Settings(samples=6, max_tokens=3, labels="oracle")).run(s.sealed))


def test_the_oracle_has_no_labels_of_the_test(tmp_path: Path) -> None:
    s, _, _ = opened(tmp_path, gold="3")
    with pytest.raises(UsageError, match="not handed out"):
        list(Ttrl(Ttrl.Settings(**SMALL, labels="oracle")).run(s.sealed))


def test_random_labels_are_drawn_among_the_answers(tmp_path: Path) -> None:
    s, _, learner = opened(tmp_path)
    list(Lmsi(Lmsi.Settings(samples=6, labels="random", rounds=3)).run(s.sealed))
    texts = {example.target for example in learner.data}
    assert texts <= {"a: 7", "b: 7", "c: 3", "d: 5"}
    assert texts & {"c: 3", "d: 5"}
