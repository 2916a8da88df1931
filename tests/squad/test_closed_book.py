"""The evaluator ``closed-book``: what it asks, and how right, empty, failed and lost answers count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.api import Ask, Completion, Episode, Evaluator, Model, Query, Request, Score, Session, State
from harness.errors import UsageError
from harness.evaluators.closed_book import ClosedBook
from harness.judges.base import Answer, Grade
from harness.registry.build import build, compared
from harness.registry.discover import Plugins
from harness.tasks.squad import Squad

STATE = State("base")


class Model(Model):
    """Answers each prompt by a rule and records its requests."""

    def __init__(self, rule: Callable[[Request], str], *can: str) -> None:
        self.can = frozenset({"generate", *can})
        self.calls: list[Sequence[Request]] = []
        self._rule = rule

    def generate(self, asks: Sequence[Request], /) -> list[list[Completion]]:
        self.calls.append(asks)
        return [[self._one(request) for _ in range(request.n)] for request in asks]

    def _one(self, request: Request) -> Completion:
        text = self._rule(request)
        kind, _, reason = text.partition(": ")
        if kind == "failed":
            return Completion(request, "", finish="failed", reason=reason)
        return Completion(request, "", finish="error", reason=reason) if kind == "error" else Completion(request, text)


def session(model: Model) -> Session:
    return cast(Session, SimpleNamespace(task=Squad(Squad.Settings()), lm=lambda who: model, generate=model.generate))


def episode(*questions: str, id: str = "e") -> Episode:
    queries = tuple(Query(f"{id}/{n}", text, {"title": "Tides"}) for n, text in enumerate(questions))
    return Episode(id, "test", {"title": "Tides", "text": "."}, queries)


def scored(model: Model, asks: Sequence[Ask], golds: Any, **settings: Any) -> list[list[Score]]:
    evaluator = ClosedBook(ClosedBook.Settings(**{"judge": "exact", **settings}))
    return [list(row) for row in evaluator.evaluate(asks, golds, session(model))]


def one(answer: str, golds: Sequence[str] = ("the moon",), **settings: Any) -> Score:
    [[score]] = scored(Model(lambda _: answer), [Ask(STATE, episode("?"))], {"e": {"e/0": golds}}, **settings)
    return score


def test_a_right_answer_and_its_measures() -> None:
    score = one(" The Moon.\n")
    assert (score.value, score.status, score.answers) == (1.0, "ok", ("The Moon.",))
    assert score.measures == {"exact": 1.0, "f1": 1.0, "contains": 1.0, "token_recall": 1.0}


def test_the_headline_is_the_judges() -> None:
    assert one("the moon and the sun").value == 0.0
    assert one("the moon and the sun", judge="contains").value == 1.0
    assert one("the moon and the sun", judge="f1").value == pytest.approx(1 / 2)
    assert one("the moon, I think", judge="").value == 1.0  # the task's own: the offline judge


def test_an_unknown_judge() -> None:
    with pytest.raises(UsageError, match="exakt"):
        one("x", judge="exakt")


def test_an_empty_answer_is_wrong_and_not_failed() -> None:
    score = one(" \n")
    assert (score.value, score.status) == (0.0, "ok")
    assert set(score.measures.values()) == {0.0}
    assert one("", golds=["the"]).value == 0.0  # normalises to nothing, as the answer does


def test_an_over_long_prompt_is_failed_with_its_reason() -> None:
    score = one("failed: context length")
    assert (score.value, score.status, score.measures) == (0.0, "failed", {"reason": "context length"})


def test_an_answer_that_could_not_be_had_is_an_error() -> None:
    score = one("error: out of memory")
    assert (score.value, score.status, score.measures) == (None, "error", {"reason": "out of memory"})


def test_a_verdict_that_could_not_be_had_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent:
        name = "silent"

        def grade(self, answers: Sequence[Answer], /) -> list[Grade]:
            return [Grade(None, "unparsed", "neither yes nor no") for _ in answers]

    monkeypatch.setattr("harness.evaluators.closed_book.load", lambda *_: Silent())
    score = one("the moon", judge="silent")
    assert (score.value, score.status, score.measures) == (None, "error", {"reason": "judge: neither yes nor no"})


def test_a_question_without_a_reference_is_an_error() -> None:
    assert one("x", golds=()).status == "error"


def test_all_asks_of_a_model_are_one_call_and_each_names_its_state() -> None:
    model = Model(lambda request: request.prompt[-20:] if isinstance(request.prompt, str) else "")
    states = [STATE, State("base", ("a",)), State("base", (), {"passage": "The moon pulls."})]
    asks = [Ask(state, episode("who?", "what?", id=f"e{n}")) for n, state in enumerate(states)]
    golds = {f"e{n}": {f"e{n}/0": ["x"], f"e{n}/1": ["x"]} for n in range(3)}
    rows = scored(model, asks, golds)
    assert [[score.query for score in row] for row in rows] == [["e0/0", "e0/1"], ["e1/0", "e1/1"], ["e2/0", "e2/1"]]
    [requests] = model.calls
    assert [request.state for request in requests] == [states[0]] * 2 + [states[1]] * 2 + [states[2]] * 2
    assert {(request.temperature, request.max_tokens, request.n) for request in requests} == {(0.0, 64, 1)}
    assert "The moon pulls." not in str(requests[0].prompt)
    assert "The moon pulls." in str(requests[-1].prompt)


def test_an_instruct_model_is_asked_in_turns() -> None:
    model = Model(lambda _: "x", "chat")
    scored(model, [Ask(STATE, episode("?"))], {"e": {"e/0": ["x"]}})
    assert [role for role, _ in cast(Any, model.calls[0][0].prompt)] == ["system", "user"]


def test_an_episode_without_queries_has_no_scores() -> None:
    model = Model(lambda _: "x")
    assert (
        scored(model, [Ask(STATE, episode()), Ask(STATE, episode("?", id="f"))], {"e": {}, "f": {"f/0": ["x"]}})[0]
        == []
    )
    assert scored(Model(lambda _: "x"), [], {}) == []


def test_several_samples_are_averaged_and_lost_ones_stay_wrong() -> None:
    texts = iter(["the moon", "the sun", "failed: context length", "the moon"])
    ask = Ask(STATE, episode("?"), samples=4)
    [[score]] = scored(Model(lambda _: next(texts)), [ask], {"e": {"e/0": ["the moon"]}}, temperature=1.0)
    assert (score.value, score.status) == (0.5, "ok")
    assert score.measures["exact"] == 0.5
    assert len(score.answers) == 4


def test_only_what_follows_the_label_is_the_answer() -> None:
    """Reasoning is not graded; an answer without the label is wrong, whatever it says (SEAL v2's own rule)."""
    thoughts = "The sun? No.\nFinal answer: the moon"
    assert one(thoughts).value == 0.0
    assert one(thoughts, after="Final answer:").value == 1.0
    unlabelled = one("the moon", after="Final answer:")
    assert (unlabelled.value, unlabelled.status, unlabelled.answers) == (0.0, "ok", ("the moon",))


def test_questions_can_be_asked_by_a_template_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(
        '[short]\nbase = "{question} ({title}) ="\n[short.instruct]\nuser = "{title}: {question}"\n'
        '[short-open-book]\nbase = "{passage} {title} {question} ="\n'
    )
    task = Squad(Squad.Settings(template=str(file), prompt="short"))
    query = episode("What {title}?").queries[0]
    assert task.prompt(query, {}, chat=False) == "What {title}? (Tides) ="
    assert task.prompt(query, {}, chat=True) == (("user", "Tides: What {title}?"),)
    assert task.prompt(query, {"passage": "P."}, chat=False) == "P. Tides What {title}? ="
    assert task.version.startswith("squad-1, answers by short ")
    assert task.version != Squad(Squad.Settings()).version == "squad-1"
    file.write_text('[short]\nbase = "{question}"\n')
    with pytest.raises(UsageError, match=r"lacks the placeholder \{title\}"):
        Squad(Squad.Settings(template=str(file), prompt="short"))


def test_chain_of_thought_is_a_template_that_ships() -> None:
    task = Squad(Squad.Settings(template="harness:tasks/squad/prompts.toml", prompt="chain-of-thought"))
    asked = str(task.prompt(episode("Why?").queries[0], {}, chat=False))
    assert "Final answer:" in asked
    assert asked.endswith("Question: Why?\nThoughts:\n")
    assert "Final answer:" in str(task.prompt(episode("Why?").queries[0], {}, chat=True))


def test_settings_that_came_later_leave_rows_comparable(tmp_path: Path) -> None:
    plugins = Plugins()

    def conditions(**settings: Any) -> dict[str, Any]:
        return compared(build(plugins, Evaluator, {"use": "closed-book", **settings}, "evaluator"))

    assert "after" not in conditions()
    assert conditions(after="") == conditions()
    assert conditions(after="So:")["after"] == "So:"
