"""The loops in real sessions, with models that answer and judge by a rule; what they do not read changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from harness_self_judging.alma import Alma
from harness_self_judging.rewarding import MetaRewarding, SelfRewarding

from harness.api import Example, Preference, Request, Round, State
from harness.errors import RunError, UsageError
from harness.evaluators.sampled import Sampled
from harness.session.service import SessionService
from harness.testing.scripted import ScriptedLM, open_session
from tests.learning import Learner, lose, numbers

WRITTEN = ["six or so: 6", "it is seven: 7", "it must be seven by all means: 7", "three: 3"]
"""Answers by sample index."""
MARKS = {"six": 2, "it is": 5, "it must": 5, "three": 0}
"""What the judge gives an answer by its first words."""
JUDGED = "Review an answer"
COMPARED = "Two reviewers"


def answer(request: Request, n: int) -> str:
    """Answers, marks that waver by sample, comparisons that prefer the first review that gives more points."""
    asked = str(request.prompt)
    if COMPARED in asked:
        points = [int(text.split("Score: ")[1][0]) for text in asked.split("Review A:")[1].split("Review B:")]
        return f"Better review: {'A' if points[0] >= points[1] else 'B'}"
    if JUDGED in asked:
        mark = next(mark for words, mark in MARKS.items() if words in asked.split("Answer:")[1][:12])
        return ["No mark.", f"Fine. Score: {mark}", f"Fair. Score: {max(0, mark - 1)}"][n % 3]
    if "Write one more task" in asked:
        words = [f"w{request.seed % number}" for number in (7, 11, 13, 17, 19)]
        return f"- Say {' '.join(words)}"
    return WRITTEN[n % len(WRITTEN)]


def chatting(rule: Any = answer) -> ScriptedLM:
    can = frozenset({"generate", "logprobs", "hidden", "train", "seed", "chat"})
    return ScriptedLM(rule, name="chatting", can=can)


def opened(
    folder: Path, gold: str = "7", rule: Any = answer, roles: dict[str, str] | None = None
) -> tuple[SessionService, ScriptedLM, Learner]:
    model, learner = chatting(rule), Learner()
    slots: dict[str, tuple[str, Any]] = {
        "evaluator": ("evaluator", Sampled(Sampled.Settings(samples=4))),
        "oracle": ("evaluator", Sampled(Sampled.Settings(samples=1, temperature=0.7, top_p=0.9, max_tokens=512))),
        "policy": ("updater", learner),
        "sft": ("updater", learner),
    }
    follows = {"student": "@teacher", "judge": "@teacher", "meta-judge": "@teacher", **(roles or {})}
    fixed = [role for role, who in follows.items() if who == "model"]
    models = {"teacher": model, "proposer": model, **dict.fromkeys(fixed, model)}
    follows = {role: who for role, who in follows.items() if who != "model"}
    s = open_session(folder, numbers(gold), models, slots, roles=follows, sees="context+queries")
    return s, model, learner


METHODS: dict[str, Any] = {
    "self-rewarding": SelfRewarding(SelfRewarding.Settings(rounds=2, contexts=2, probe=2)),
    "positives": SelfRewarding(SelfRewarding.Settings(rounds=2, learn="best")),
    "proposing": SelfRewarding(SelfRewarding.Settings(rounds=2, proposed=3)),
    "meta-rewarding": MetaRewarding(MetaRewarding.Settings(rounds=2, samples=4, judgements=3, contexts=2)),
    "by agreement": MetaRewarding(
        MetaRewarding.Settings(rounds=2, samples=4, judgements=3, contexts=2, judge_pairs="agreement")
    ),
    "alma": Alma(Alma.Settings(rounds=3, samples=6, contexts=2)),
    "alma, spread": Alma(Alma.Settings(rounds=2, samples=4, contexts=2, spread=True)),
}


def ran(folder: Path, name: str, **more: Any) -> tuple[list[Round], ScriptedLM, Learner, SessionService]:
    roles = {"judge": "model"} if name.startswith("alma") else {}
    s, model, learner = opened(folder, roles=roles, **more)
    rounds = list(METHODS[name].run(s.sealed))
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
    assert one[3].diagnoses != other[3].diagnoses or name == "proposing", "only the core's own diagnosis differs"


@pytest.mark.parametrize("name", METHODS)
def test_another_life_repeats_it_from_the_journal(tmp_path: Path, name: str) -> None:
    once = ran(tmp_path, name)[0]
    again, model, learner, _ = ran(tmp_path, name)
    assert once == again
    assert not model.asked
    assert not learner.jobs


@pytest.mark.parametrize("lost", [JUDGED, COMPARED, "What is"])
def test_what_is_lost_stops_the_loop_and_is_no_bad_mark(tmp_path: Path, lost: str) -> None:
    s, model, _ = opened(tmp_path)
    lose(model, lost)
    with pytest.raises(RunError, match="gone"):
        list(METHODS["meta-rewarding"].run(s.sealed))


def preferences(learner: Learner) -> list[Preference]:
    return [item for item in learner.data if isinstance(item, Preference)]


def test_the_best_is_preferred_to_the_worst(tmp_path: Path) -> None:
    s, _, learner = opened(tmp_path)
    [done] = SelfRewarding(SelfRewarding.Settings(rounds=1)).run(s.sealed)
    assert {(one.chosen, one.rejected) for one in preferences(learner)} == {(WRITTEN[1], WRITTEN[3])}
    assert done.metrics["pairs"] == 4
    assert done.metrics["unread"] == pytest.approx(1 / 3), "one of three judgements has no mark: dropped and counted"
    # Marks 2, 5, 5, 0 with a second judgement one lower (not below 0): (1.5 + 4.5 + 4.5 + 0) / 4 of 5.
    assert done.metrics["score"] == pytest.approx(10.5 / 4 / 5)
    assert s.diagnoses["round 1: preferred"] == (4, 4)
    assert s.diagnoses["round 1: rejected"] == (0, 4)


def test_the_state_of_the_round_judges_itself(tmp_path: Path) -> None:
    _, model, learner, _ = ran(tmp_path, "self-rewarding")
    judged = [request.state for request in model.asked if JUDGED in str(request.prompt)]
    assert {len(state.adapters) for state in judged} == {0, 1}, "M1 and its successors"
    starts = [job.start for job in learner.jobs]
    assert starts[0].adapters == ()
    assert starts[1] in judged


def test_length_control_prefers_the_shorter_of_equals(tmp_path: Path) -> None:
    s, _, learner = opened(tmp_path)
    list(SelfRewarding(SelfRewarding.Settings(rounds=1, rho=(0.4,))).run(s.sealed))
    assert {(one.chosen, one.rejected) for one in preferences(learner)} == {(WRITTEN[1], WRITTEN[0])}


def test_every_failure_makes_a_pair(tmp_path: Path) -> None:
    s, _, learner = opened(tmp_path)
    list(SelfRewarding(SelfRewarding.Settings(rounds=1, contexts=1, pairs="failures", passing=3.0)).run(s.sealed))
    found = [(one.chosen, one.rejected) for one in preferences(learner)]
    assert found == [(WRITTEN[1], WRITTEN[0]), (WRITTEN[2], WRITTEN[3])]


def test_positives_alone_are_examples(tmp_path: Path) -> None:
    _, _, learner, _ = ran(tmp_path, "positives")
    assert {item.target for item in learner.data if isinstance(item, Example)} == {WRITTEN[1]}
    assert not preferences(learner)


def test_a_judge_without_opinion_teaches_nothing(tmp_path: Path) -> None:
    def rule(request: Request, n: int) -> str:
        return "Score: 3" if JUDGED in str(request.prompt) else WRITTEN[n]

    s, _, learner = opened(tmp_path, rule=rule)
    [done] = SelfRewarding(SelfRewarding.Settings(rounds=1)).run(s.sealed)
    assert not learner.jobs
    assert done.metrics["tied"] == 1.0
    assert done.metrics["note"] == "nothing to learn: the policy stays as it was"


def test_random_scores_ask_no_judge_and_the_oracle_costs_labels(tmp_path: Path) -> None:
    s, model, learner = opened(tmp_path / "random")
    list(SelfRewarding(SelfRewarding.Settings(rounds=1, rated_by="random")).run(s.sealed))
    assert not any(JUDGED in str(request.prompt) for request in model.asked)
    assert len({one.chosen for one in preferences(learner)}) > 1
    s, _, learner = opened(tmp_path / "oracle", gold="3")
    list(SelfRewarding(SelfRewarding.Settings(rounds=1, rated_by="oracle")).run(s.sealed))
    assert {one.chosen for one in preferences(learner)} == {WRITTEN[3]}
    assert len(s.labels) == 4


@pytest.mark.parametrize("by", ["random", "oracle"])
def test_controls_have_passes_and_failures_too(tmp_path: Path, by: Any) -> None:
    """Their scores are on the judge's scale, so that `passing` parts them."""
    s, _, learner = opened(tmp_path)
    list(SelfRewarding(SelfRewarding.Settings(rounds=1, rated_by=by, pairs="failures")).run(s.sealed))
    assert len(preferences(learner)) > 4


def test_the_meta_judge_makes_pairs_of_judgements(tmp_path: Path) -> None:
    """Of the answer that is marked most unevenly; the review with more points wins in either order."""
    s, model, learner = opened(tmp_path)
    settings = MetaRewarding.Settings(rounds=2, samples=4, judgements=3, contexts=1, judge_rounds=1)
    first, second = MetaRewarding(settings).run(s.sealed)
    judged = [one for one in preferences(learner) if JUDGED in str(one.prompt)]
    assert [(one.chosen, one.rejected) for one in judged] == [("Fine. Score: 2", "Fair. Score: 1")]
    assert first.metrics["judge_pairs"] == 1
    assert first.metrics["meta_contests"] == 2, "two different judgements, in both orders"
    assert first.metrics["meta_first_place"] == 0.5
    assert "judge_pairs" not in second.metrics, "later rounds train the actor alone"
    compared = [request for request in model.asked if COMPARED in str(request.prompt)]
    assert len(compared) == 2


def test_judgements_that_most_agree_with_are_preferred(tmp_path: Path) -> None:
    """Without a meta-judge. One of four judgements has no mark; of the answer marked 3, 3 and 2, two of three pass."""
    marks = {"six": [3, 2], "it is": [5, 4], "it must": [5, 4], "three": [1, 0]}

    def rule(request: Request, n: int) -> str:
        asked = str(request.prompt)
        if JUDGED not in asked:
            return answer(request, n)
        high, low = next(mark for words, mark in marks.items() if words in asked.split("Answer:")[1][:12])
        return ["No mark.", f"Fine. Score: {high}", f"Good. Score: {high}", f"Poor. Score: {low}"][n % 4]

    s, model, learner = opened(tmp_path, rule=rule)
    shared: Any = {"rounds": 1, "samples": 4, "judgements": 4, "contexts": 2, "judge_pairs": "agreement"}
    [done] = MetaRewarding(MetaRewarding.Settings(**shared, agreement=0.6)).run(s.sealed)
    judged = [one for one in preferences(learner) if JUDGED in str(one.prompt)]
    assert {(one.chosen, one.rejected) for one in judged} == {("Fine. Score: 3", "Poor. Score: 2")}
    assert done.metrics["judge_pairs"] == 2, "one per question: on all other answers every judgement says the same"
    assert not any(COMPARED in str(request.prompt) for request in model.asked)
    s, _, learner = opened(tmp_path / "strict", rule=rule)
    list(MetaRewarding(MetaRewarding.Settings(**shared)).run(s.sealed))
    assert not any(JUDGED in str(one.prompt) for one in preferences(learner)), "two of three are too few"


def test_a_long_judgement_is_not_learnt(tmp_path: Path) -> None:
    s, _, learner = opened(tmp_path)
    settings = MetaRewarding.Settings(rounds=1, samples=4, judgements=3, contexts=1, longest_judgement=10)
    list(MetaRewarding(settings).run(s.sealed))
    assert not [one for one in preferences(learner) if JUDGED in str(one.prompt)]


def test_judge_pairs_need_judgements() -> None:
    with pytest.raises(UsageError, match="at least two must be written"):
        MetaRewarding(MetaRewarding.Settings(judgements=1))


def test_alma_trains_the_base_anew_on_the_data_of_all_rounds(tmp_path: Path) -> None:
    rounds, model, learner, _ = ran(tmp_path, "alma")
    assert [len(job.start.adapters) for job in learner.jobs] == [0, 0, 0, 0]
    assert [len(job.edits) for job in learner.jobs] == [2, 2, 4, 6]
    assert learner.jobs[0].seed != learner.jobs[1].seed, "two first models"
    assert [one.metrics["pool"] for one in rounds] == [1, 2, 3]
    asked = [request for request in model.asked if "What is" in str(request.prompt)]
    last = [(request.state, request.n) for request in asked[-6:]]
    assert [n for _, n in last] == [2] * 6
    assert State(model.base) not in [state for state, _ in last]


def test_alma_going_on_trains_the_last_model_on_its_round(tmp_path: Path) -> None:
    s, _, learner = opened(tmp_path, roles={"judge": "model"})
    list(Alma(Alma.Settings(rounds=3, samples=6, contexts=2, restart=False)).run(s.sealed))
    assert [len(job.edits) for job in learner.jobs] == [2, 2, 2, 2]
    assert [bool(job.start.adapters) for job in learner.jobs] == [False, False, True, True]


def test_alma_scores_with_nothing_written_before_the_mark(tmp_path: Path) -> None:
    _, model, _, _ = ran(tmp_path, "alma")
    assert not any("How good" in str(request.prompt) for request in model.asked), "no text is asked of its judge"


def test_new_tasks_are_new_and_nobodys_test(tmp_path: Path) -> None:
    rounds, model, _, s = ran(tmp_path, "proposing")
    made = [query.text for episode in s.episodes("made") for query in episode.queries]
    assert len(made) == len(set(made)) > 0
    first = next(request for request in model.asked if "Write one more task" in str(request.prompt))
    assert "- What is" in str(first.prompt), "known questions are shown"
    later = [str(request.prompt) for request in model.asked if "Write one more task" in str(request.prompt)]
    assert any("- Say w" in prompt for prompt in later), "and tasks that were proposed before"
    counts = rounds[0].metrics
    assert counts["tasks"] <= 3
    assert counts["tasks_written"] == counts["tasks"] + counts["tasks_malformed"] + counts["tasks_duplicates"]


def test_a_proposer_that_repeats_itself_is_told_so(tmp_path: Path) -> None:
    def rule(request: Request, n: int) -> str:
        return "What is 0 of train?" if "Write one more task" in str(request.prompt) else answer(request, n)

    s, _, _ = opened(tmp_path, rule=rule)
    with pytest.raises(RunError, match="none of 9 proposals is a new task"):
        list(SelfRewarding(SelfRewarding.Settings(proposed=3)).run(s.sealed))


def test_the_probe_is_the_same_for_every_judge(tmp_path: Path) -> None:
    rounds, model, _, s = ran(tmp_path, "self-rewarding")
    probed = [request for request in model.asked if "of validation?" in str(request.prompt)]
    answers = [request for request in probed if JUDGED not in str(request.prompt)]
    assert all(request.state == State(model.base) for request in answers)
    assert len({repr(request.state) for request in probed if JUDGED in str(request.prompt)}) == 3
    assert {f"probe, M{n}: preferred" for n in (1, 2, 3)} <= set(s.diagnoses)
    assert rounds[0].metrics["probe_score_start"] == rounds[1].metrics["probe_score"]
