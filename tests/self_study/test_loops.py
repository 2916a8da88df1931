"""AL and ALAS in real sessions, with a model that answers from a rule; what they do not read changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from harness_self_study.al import Al
from harness_self_study.alas import Alas
from harness_self_study.by_round import ByRound
from harness_self_study.learning import kept

from harness.api import Example, Preference, Round, Trainer
from harness.errors import RunError, UsageError
from harness.registry.build import BuiltComponent
from harness.runs.bench import RunBench
from harness.runs.measured import take
from tests.learning import Learner, lose
from tests.self_study.world import FACTS, WORDINGS, opened, reader, text

TOPICS = {"topic_template": "harness_lab:templates/entigraph-1.toml", "topic_prompt": "entities"}
METHODS: dict[str, Trainer] = {
    "al": Al(Al.Settings(writings=2)),
    "alas": Alas(Alas.Settings(rounds=3, survey=2, topics=4, writings=2, **TOPICS)),
}


def ran(folder: Path, name: str, **more: Any) -> tuple[list[Round], Any, Learner, Learner, Any]:
    s, model, sft, dpo = opened(folder, **more)
    rounds = list(METHODS[name].run(s.sealed))
    return rounds, model, sft, dpo, s


@pytest.mark.parametrize("name", METHODS)
def test_what_is_right_changes_nothing(tmp_path: Path, name: str) -> None:
    """The leak test: references permuted, the same requests, updates, states and rounds, and no label used."""
    turned = dict(zip(FACTS, [*list(FACTS.values())[1:], FACTS["Arbo"]], strict=True))
    one, other = ran(tmp_path / "a", name), ran(tmp_path / "b", name, golds=turned)
    assert one[0] == other[0]
    assert one[1].asked == other[1].asked
    assert [one[2].jobs, one[3].jobs] == [other[2].jobs, other[3].jobs]
    assert one[4].labels == other[4].labels == set()


@pytest.mark.parametrize("name", METHODS)
def test_no_question_of_the_split_is_seen(tmp_path: Path, name: str) -> None:
    _, model, sft, dpo, _ = ran(tmp_path, name)
    assert not any("Say the colour" in str(request.prompt) for request in model.asked)
    assert not any("Say the colour" in str(job) for job in [*sft.jobs, *dpo.jobs])


@pytest.mark.parametrize("name", METHODS)
def test_another_life_repeats_it_from_the_journal(tmp_path: Path, name: str) -> None:
    once, *_, s = ran(tmp_path, name)
    s.journal.close()
    again, model, sft, dpo, _ = ran(tmp_path, name)
    assert once == again
    assert not model.asked
    assert not [*sft.jobs, *dpo.jobs]


@pytest.mark.parametrize("name", METHODS)
def test_a_lost_text_stops_the_loop_and_is_no_wrong_answer(tmp_path: Path, name: str) -> None:
    s, model, *_ = opened(tmp_path)
    lose(model)
    with pytest.raises(RunError, match="gone"):
        list(METHODS[name].run(s.sealed))


@pytest.mark.parametrize("name", METHODS)
def test_an_empty_split_is_said_in_one_line(tmp_path: Path, name: str) -> None:
    s, *_ = opened(tmp_path)
    s.context.episodes._splits["test"] = []
    with pytest.raises(UsageError, match="split 'test' is empty"):
        list(METHODS[name].run(s.sealed))


def test_al_prefers_what_it_reads_to_what_it_says(tmp_path: Path) -> None:
    rounds, _, sft, dpo, s = ran(tmp_path, "al")
    [opening], [closing] = sft.jobs, dpo.jobs
    examples = [item for edit in opening.edits for item in edit.data]
    answers = [item for item in examples if isinstance(item, Example) and item.target in FACTS.values()]
    written = [item for item in examples if item not in answers]
    assert len(written) == 2 * len(FACTS)
    assert all(text(name) in str(written[2 * place].prompt) for place, name in enumerate(FACTS))
    assert len(answers) == 5 * len(FACTS), "six questions in two writings, one of them twice"
    assert not any("known that" in str(item.prompt) for item in answers), "the book is closed"
    assert closing.start_as == "continue"
    assert len(closing.start.adapters) == 1
    preferred = [item for edit in closing.edits for item in edit.data]
    assert all(isinstance(item, Preference) for item in preferred)
    assert {(item.chosen, item.rejected) for item in preferred} == {(colour, "pink") for colour in FACTS.values()}
    assert rounds[0].metrics["examples"] == 28
    assert rounds[1].metrics["pairs"] == 20
    assert rounds[1].metrics["differ"] == 1.0
    assert s.diagnoses == {"open-book answers, round 1": (20, 20), "closed-book answers before round 2": (0, 20)}


def test_al_makes_no_pair_of_what_is_known(tmp_path: Path) -> None:
    knowing = frozenset({"Arbo", "Belto"})
    rounds, _, _, dpo, _ = ran(tmp_path, "al", rule=lambda request, n: reader(request, n, knowing))
    assert {item.chosen for edit in dpo.jobs[0].edits for item in edit.data} == {"green", "black"}
    assert rounds[1].metrics["differ"] == 0.5


def test_al_of_a_model_that_knows_everything_learns_no_pair(tmp_path: Path) -> None:
    s, _, _, dpo = opened(tmp_path, rule=lambda request, n: reader(request, n, frozenset(FACTS)))
    [done] = Al(Al.Settings(learn_writing=False, learn_answers=False)).run(s.sealed)
    assert not dpo.jobs
    assert done.metrics["dpo_note"] == "nothing to learn"
    assert done.roles["teacher"] == kept(s)[0]


def test_a_later_closed_book_stage_has_other_questions(tmp_path: Path) -> None:
    s, _, _, dpo = opened(tmp_path)
    list(Al(Al.Settings(rounds=2, writings=1, learn_writing=False)).run(s.sealed))
    prompts = [{str(item.prompt) for edit in job.edits for item in edit.data} for job in dpo.jobs]
    assert all(not one & other for at, one in enumerate(prompts) for other in prompts[at + 1 :])


def test_random_answers_are_other_questions_answers(tmp_path: Path) -> None:
    s, _, sft, _ = opened(tmp_path)
    list(Al(Al.Settings(labels="random", learn_writing=False)).run(s.sealed))
    data = [item for edit in sft.jobs[0].edits for item in edit.data]
    right = sum(FACTS[next(name for name in FACTS if name in str(item.prompt))] == item.target for item in data)
    assert len(data) == 20
    assert right < 20


def test_the_oracle_learns_labelled_questions_that_it_reads_rightly(tmp_path: Path) -> None:
    turned = {**FACTS, "Arbo": "white"}
    s, _, sft, _ = opened(tmp_path, golds=turned, sees="context+queries")
    list(Al(Al.Settings(labels="oracle", split="train")).run(s.sealed))
    data = [item for edit in sft.jobs[0].edits for item in edit.data]
    assert {item.target for item in data} == {"blue", "green", "black"}, "what the label calls wrong is left out"
    assert len(s.labels) == len(FACTS)


def test_the_oracle_has_no_labels_of_the_test(tmp_path: Path) -> None:
    s, *_ = opened(tmp_path / "a", sees="context+queries")
    with pytest.raises(UsageError, match="not handed out"):
        list(Al(Al.Settings(labels="oracle")).run(s.sealed))
    s, *_ = opened(tmp_path / "b")
    with pytest.raises(UsageError, match="labelled questions"):
        list(Al(Al.Settings(labels="oracle", split="train")).run(s.sealed))


def test_alas_studies_nothing_again_that_it_has_mastered(tmp_path: Path) -> None:
    """It knows two topics with the book closed: they pass their exams, and nothing is read about them again."""
    knowing = frozenset({"Arbo", "Cando"})
    rounds, _, _, dpo, s = ran(tmp_path, "alas", rule=lambda request, n: reader(request, n, knowing))
    record = s.keep("curriculum after round 3")
    assert record is not None
    topics = {one["name"]: one for one in record["topics"]}
    assert {name for name, one in topics.items() if one["mastered"]} == knowing
    assert all(len(topics[name]["studied"]) == 1 for name in knowing)
    assert all(len(topics[name]["studied"]) == 2 for name in ("Belto", "Dervi")), "then it is set aside"
    assert record["repeated"] >= 2, "'pale thing' was proposed on every page, and is one topic"
    assert {item.rejected for job in dpo.jobs for edit in job.edits for item in edit.data} == {"pink"}
    assert {item.chosen for job in dpo.jobs for edit in job.edits for item in edit.data} == {"blue", "black"}
    assert [one.metrics["mastered"] for one in rounds] == [1, 2, 2]


def test_alas_surveys_the_library_document_by_document(tmp_path: Path) -> None:
    _, model, *_ = ran(tmp_path, "alas")
    listed = [str(request.prompt) for request in model.asked if "List the names" in str(request.prompt)]
    assert len(listed) == len(set(listed)) == len(FACTS)


def test_alas_starts_anew_with_all_lessons_or_goes_on_with_its_own(tmp_path: Path) -> None:
    for begin, fresh in (("start", [0, 0, 0]), ("last", [0, 1, 1])):
        s, _, sft, _ = opened(tmp_path / begin)
        settings = Alas.Settings(rounds=3, survey=2, topics=4, writings=1, begin=begin, **TOPICS)  # type: ignore[arg-type]
        list(Alas(settings).run(s.sealed))
        assert [len(job.start.adapters) for job in sft.jobs] == fresh[: len(sft.jobs)]
        sizes = [sum(len(edit.data) for edit in job.edits) for job in sft.jobs]
        assert (sizes == sorted(sizes) and sizes[0] < sizes[-1]) == (begin == "start"), sizes


def test_an_exam_has_no_lesson_in_it(tmp_path: Path) -> None:
    _, _, sft, dpo, _ = ran(tmp_path, "alas")
    taught = {str(item.prompt) for edit in sft.jobs[0].edits for item in edit.data}
    examined = {str(item.prompt) for edit in dpo.jobs[0].edits for item in edit.data}
    assert taught
    assert examined
    assert not taught & examined
    wordings = {wording for row in WORDINGS for wording in row}
    assert all(any(wording in prompt for wording in wordings) for prompt in taught | examined)


def test_the_policy_of_every_round_is_measured(tmp_path: Path) -> None:
    """A loop of three rounds gives four steps, and the figure of the row is that of the deployed policy."""
    rounds, *_, s = ran(tmp_path, "alas")
    states = kept(s)
    assert [one.roles["student"] for one in rounds] == states[1:]
    protocol = BuiltComponent("protocol", "by-round", ByRound(), {}, {}, "plugin 'self-study'")
    tables = take(protocol, RunBench(s, "test", samples=1))
    assert list(tables) == ["score", "by-round.score"]
    assert set(tables["score"].scores) == {None}
    assert set(tables["by-round.score"].scores) == {0, 1, 2, 3}
    assert tables["score"].cells(None) == tables["by-round.score"].cells(3)
