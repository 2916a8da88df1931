"""What is asked of the rest of the model: pages it reads, answers it gives weight to, and what pre-training taught."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from harness_baselines.open_book import OpenBook
from harness_lab.known_task import LabKnown, LabKnownSettings

from harness.api import Ask, Evaluator, State
from harness.evaluators.answer_probability import AnswerProbability
from harness.evaluators.closed_book import ClosedBook, ClosedBookSettings
from harness.runs.protocols.drift import divergence
from harness.session.service import SessionService
from harness.testing import ScriptedLM, ScriptedTask, TaskContract, open_session

PAGES = {
    "tides": ("The moon pulls the sea twice a day.", {"what pulls the sea": ["the moon", "moon"]}),
    "ships": ("A keel keeps a ship upright.", {"what keeps things upright": ["a keel"]}),
}


class TestLabKnown(TaskContract):
    component = LabKnown


def session(folder: Path, evaluator: Evaluator) -> tuple[SessionService, ScriptedLM]:
    lm = ScriptedLM({"moon pulls": "the moon", "keel keeps": "a keel"})
    slots = {"evaluator": ("evaluator", evaluator)}
    return open_session(folder, ScriptedTask({"test": PAGES}), {"student": lm}, slots), lm


def test_open_book_every_question_has_its_own_context_in_view(tmp_path: Path) -> None:
    s, lm = session(tmp_path, OpenBook(ClosedBook(ClosedBookSettings(judge="exact"))))
    asks = [Ask(s.roles["student"], episode) for episode in s.episodes("test")]
    rows = s.answer(asks)
    assert [[score.value for score in row][:1] for row in rows] == [[1.0], [1.0]]
    assert all(("moon" in str(one.prompt)) == ("sea" in str(one.prompt)) for one in lm.asked)
    assert {one.state.memory["passage"] for one in lm.asked} == {text for text, _ in PAGES.values()}
    assert asks[0].state.memory == {}, "the state that is asked stays as it was"


def test_the_probability_of_the_likeliest_accepted_answer(tmp_path: Path) -> None:
    s, lm = session(tmp_path, AnswerProbability())
    asks = [Ask(s.roles["student"], s.context.episodes.full(episode.id)) for episode in s.episodes("test")]
    first, _ = s.answer(asks)
    tides = asks[0].episode
    prompt = s.task.prompt(tides.queries[0], {}, chat=False)
    sums = [sum(row) for row in lm.logprobs([(s.roles["student"], prompt, gold) for gold in ("the moon", "moon")])]
    assert first[0].measures["logprob"] == pytest.approx(max(sums))
    assert first[0].value == pytest.approx(math.exp(max(sums)))
    assert lm.asked == [], "nothing is generated"
    [[bare]] = AnswerProbability().evaluate(asks[:1], {"tides": {}}, s.sealed)
    assert (bare.status, bare.value) == ("error", None), "without a reference there is nothing to weigh"


def test_known_facts_are_what_the_embedded_model_was_taught(lab_model) -> None:  # type: ignore[no-untyped-def]
    """Nearly all of them are answered before any update, and other seeds ask about others."""
    task = LabKnown(LabKnownSettings(test=8))
    items = task.load("test")
    assert task.load("validation") == []
    others = [*task.load("train"), *LabKnown(LabKnownSettings(test=8, seed=2)).load("test")[:3]]
    assert len({e.id for e, _ in [*others, *items]}) > 16
    from harness.api import Request

    base = State(lab_model.base)
    asked = [
        (Request(base, task.prompt(query, {}, chat=False), max_tokens=16), key[query.id])
        for episode, key in items
        for query in episode.queries
    ]
    found = lab_model.generate([request for request, _ in asked])
    right = [one.text.strip() in golds for (one,), (_, golds) in zip(found, asked, strict=True)]
    assert sum(right) >= 0.9 * len(right)


@pytest.mark.parametrize(("now", "nats"), [([-1.0, -2.0], 0.0), ([-2.0, -3.0], 1.0), ([-1.0, -1.0], -0.5)])
def test_drift_is_the_mean_log_ratio_of_what_the_base_drew(now: list[float], nats: float) -> None:
    assert divergence([-1.0, -2.0], now) == pytest.approx(nats)
