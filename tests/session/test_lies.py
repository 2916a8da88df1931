"""A plugin that lies, breaks or meddles: wrong answers of models, records of wrong types, changes behind the back."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.api import (
    Ask,
    Completion,
    EditAsk,
    Example,
    HarnessError,
    Likelihood,
    Reward,
    Round,
    Score,
    SelfEdit,
    Session,
    Updated,
    UpdateJob,
)
from harness.errors import PluginError, RunError
from harness.runs.arm import _rounds
from harness.session.service import SessionService
from harness.testing import ScriptedLM
from harness.testing.scripted import _built
from tests.session import parts
from tests.session.test_boundary import Gives, edit

# --- models ---


class Lies(ScriptedLM):
    """A model of which one call answers what it is told to."""

    def __init__(self, call: str, answer: Callable[[Any], Any]) -> None:
        super().__init__(parts.knows_after_training)
        self._lie = call, answer

    def _said(self, call: str, items: Any) -> Any:
        return self._lie[1](items) if self._lie[0] == call else getattr(super(), call)(items)

    def generate(self, asks: Any, /) -> Any:
        return self._said("generate", asks)

    def logprobs(self, asks: Any, /, *, dropout: Any = None) -> Any:
        return self._said("logprobs", asks)

    def likelihoods(self, asks: Any, /) -> Any:
        return self._said("likelihoods", asks)

    def hidden(self, asks: Any, /, *, layer: int, pool: Any = "mean", dropout: Any = None) -> Any:
        return self._said("hidden", asks) if self._lie[0] == "hidden" else [[0.0] for _ in asks]

    def train(self, items: Any, loss: Any = "sft") -> Any:
        if self._lie[0] != "train":
            return super().train(items, loss)
        return self._lie[1](list(super().train(items, loss)))


def called(s: SessionService, call: str) -> Any:
    state = s.roles["student"]
    lm = s.lm("student")
    if call == "generate":
        return s.generate([replace_request(state, "a", n=2), replace_request(state, "b")])
    if call == "hidden":
        return lm.hidden([(state, "a"), (state, "b")], layer=-1)
    if call == "train":
        return s.update("updater", [UpdateJob(name, state, (edit("cats"),), 0) for name in ("j", "k")])
    return getattr(lm, call)([(state, "a", "b"), (state, "c", "d")])


def replace_request(state: Any, prompt: str, **more: Any) -> Any:
    from harness.api import Request

    return Request(state, prompt, temperature=1.0, **more)


def rows(**fields: Any) -> Callable[[Any], Any]:
    return lambda asks: [[Completion(ask, fields.get("text", "x"), **_but_text(fields))] * ask.n for ask in asks]


def _but_text(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name != "text"}


def trained(**fields: Any) -> Callable[[Any], Any]:
    return lambda results: [replace(one, **fields) for one in results]


def failing(error: BaseException) -> Callable[[Any], Any]:
    def fail(items: Any) -> Any:
        raise error

    return fail


def late(items: Any) -> Iterator[Any]:
    yield from ()
    raise ZeroDivisionError("late")


NAN = float("nan")
MODELS: list[tuple[str, Callable[[Any], Any], str]] = [
    ("generate", lambda asks: None, "gave nothing (None), not an answer to each of the 2 requests"),
    ("generate", lambda asks: [], "0 answers to 2 requests"),
    ("generate", lambda asks: ["x" for _ in asks], "str where a list for one of the requests belongs"),
    ("generate", lambda asks: [Completion(ask, "x") for ask in asks], "Completion where a list"),
    ("generate", lambda asks: [[Completion(ask, "x")] for ask in asks], "1 completions of a request for 2"),
    ("generate", lambda asks: [[Completion(ask, "x")] * 3 for ask in asks], "3 completions of a request for 2"),
    ("generate", lambda asks: [["x"] * ask.n for ask in asks], "str where a Completion belongs"),
    ("generate", rows(text=None), "the text of a completion is None"),
    ("generate", rows(finish="done"), "has the finish 'done'"),
    ("generate", rows(finish="error", reason=3), "the reason of a completion is 3"),
    ("generate", rows(tokens=("a",)), "not integers"),
    ("generate", rows(tokens=(1, 2), logprobs=(-0.1,)), "1 log-probabilities for 2 tokens"),
    ("generate", rows(tokens=(1,), logprobs=(NAN,)), "a log-probability is nan"),
    ("generate", rows(tokens=(1,), logprobs=(0.7,)), "a log-probability is 0.7"),
    ("generate", rows(cost=None), "the cost of a completion is None"),
    ("generate", rows(cost={"usd": NAN}), "the cost usd = nan"),
    ("generate", rows(cost={"usd": -5}), "the cost usd = -5"),
    ("generate", late, "raised ZeroDivisionError: late"),
    ("generate", failing(SystemExit(0)), "raised SystemExit: 0"),
    ("logprobs", lambda asks: [[-1.0]], "1 answers to 2 requests"),
    ("logprobs", lambda asks: [-1.0 for _ in asks], "float where a list"),
    ("logprobs", lambda asks: [[float("-inf")] for _ in asks], "a log-probability is -inf; it must be finite"),
    ("logprobs", lambda asks: [["x"] for _ in asks], "a log-probability is 'x'"),
    ("likelihoods", lambda asks: [(-1.0,) for _ in asks], "where a Likelihood belongs"),
    ("likelihoods", lambda asks: [Likelihood((NAN,)) for _ in asks], "a log-probability is nan"),
    ("hidden", lambda asks: [[NAN] for _ in asks], "a hidden state holds what is no finite number"),
    ("hidden", lambda asks: [[0.0] * (1 + i) for i, _ in enumerate(asks)], "hidden states of different lengths"),
    ("train", lambda results: None, "raised TypeError"),
    ("train", lambda results: results[:1] * 2, "trained 'j', which it was not given or has answered already"),
    ("train", trained(id="z"), "trained 'z', which it was not given"),
    ("train", trained(adapter=None), "must have an adapter exactly when its status is ok"),
    ("train", trained(status="fine"), "has the status 'fine'"),
    ("train", trained(log="fine"), "the log of 'j' is 'fine'"),
    ("train", lambda results: ["x"], "str where a Trained belongs"),
    ("train", late, "raised ZeroDivisionError: late"),
]


@pytest.mark.parametrize(("call", "answer", "said"), MODELS, ids=[f"{call}: {said}" for call, _, said in MODELS])
def test_what_a_model_answers_is_the_models_fault(
    tmp_path: Path, call: str, answer: Callable[[Any], Any], said: str
) -> None:
    s = parts.session(tmp_path, Lies(call, answer))
    with pytest.raises(PluginError) as caught:
        called(s, call)
    assert "model scripted:scripted" in str(caught.value)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not s.journal.ran, "nothing of it is booked"


def test_a_broken_connection_is_no_plugins_fault_and_ctrl_c_stays_what_it_is(tmp_path: Path) -> None:
    for error, expected in ((ConnectionResetError("gone"), RunError), (KeyboardInterrupt(), KeyboardInterrupt)):
        s = parts.session(tmp_path / expected.__name__, Lies("generate", failing(error)))
        with pytest.raises(expected):
            called(s, "generate")


def test_generators_of_answers_do(tmp_path: Path) -> None:
    s = parts.session(tmp_path, Lies("generate", lambda asks: ((Completion(a, "x") for _ in range(a.n)) for a in asks)))
    assert [[one.text for one in row] for row in called(s, "generate")] == [["x", "x"], ["x"]]


# --- records ---

WRONG = [None, 3, "x", [], {}, NAN, object(), {1: 2}, (None,), b"x", {"a": {1}}]


def given(s: SessionService, record: Any) -> None:
    """The record goes the way that its kind takes through a session."""
    cats, student = s.episodes("train")[0], s.roles["student"]
    if isinstance(record, SelfEdit):
        [group] = s.reward(s.propose("teacher", [EditAsk(cats, s.roles["teacher"], 1, 0)]))
        s.update("updater", [UpdateJob("j", student, group.edits, 0)])
    elif isinstance(record, Reward):
        s.reward(s.propose("teacher", [EditAsk(cats, s.roles["teacher"], 1, 0)]))
    elif isinstance(record, Updated):
        s.update("updater", [UpdateJob("j", student, (edit("cats"),), 0)])
    elif isinstance(record, Score):
        s.evaluate([Ask(student, cats)])
    else:
        list(_rounds(_built("trainer", Gives([record])), s))


SLOTS = {SelfEdit: ("editor", "editor"), Reward: ("reward", "reward"), Updated: ("updater", "updater"),
         Score: ("evaluator", "evaluator")}  # fmt: skip


def fields() -> Iterator[tuple[type, str]]:
    for kind in (SelfEdit, Reward, Updated, Score, Round):
        for one in dataclasses.fields(kind):
            yield kind, one.name


@pytest.mark.parametrize(("kind", "name"), fields(), ids=[f"{kind.__name__}.{name}" for kind, name in fields()])
def test_no_field_of_a_record_of_any_type_gets_further_than_one_line(tmp_path: Path, kind: type, name: str) -> None:
    for place, wrong in enumerate(WRONG):
        slots = {}
        good: Any = Round(0, {})
        if kind in SLOTS:
            answers = {SelfEdit: edit("cats"), Reward: Reward(0.5), Score: Score("cats", "cats/q0", 1.0)}
            good = answers.get(kind)

            def answer(items: Sequence[Any], wrong: Any = wrong, good: Any = good) -> Any:
                if kind is Updated:
                    return [replace(Updated(job.id, job.start), **{name: wrong}) for job in items]
                return [[replace(good, **{name: wrong})]]

            slot, what = SLOTS[kind]
            slots[slot] = (what, Gives(answer))
        s = parts.session(tmp_path / str(place), ScriptedLM(parts.knows_after_training), **slots)
        record = Updated("j", None) if kind is Updated else good
        with suppress(HarnessError):  # and nothing else
            given(s, replace(record, **{name: wrong}) if kind is Round else record)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (Example(3, "t"), "the field prompt of Example is 3"),  # type: ignore[arg-type]
        (Example((("user",),), "t"), "the field prompt of Example is (('user',),)"),  # type: ignore[arg-type]
        (Example("p", "t", "heavy"), "the field weight of Example is 'heavy', and must be float"),  # type: ignore[arg-type]
    ],
)
def test_nor_does_training_data(tmp_path: Path, data: Any, said: str) -> None:
    wrong = Gives(lambda asks: [[SelfEdit("e", ask.episode.id, (data,))] for ask in asks])
    s = parts.session(tmp_path, ScriptedLM({}), editor=("editor", wrong))
    with pytest.raises(PluginError) as caught:
        s.propose("teacher", [EditAsk(s.episodes("train")[0], s.roles["teacher"], 1, 0)])
    assert said in str(caught.value)


def test_edits_have_ids_of_their_own(tmp_path: Path) -> None:
    """Otherwise an update of one would be taken for that of the other."""
    for place, count in enumerate((1, 2)):
        same = Gives(lambda asks: [[replace(edit(a.episode.id), id="same")] * a.n for a in asks])
        s = parts.session(tmp_path / str(place), ScriptedLM({}), editor=("editor", same))
        with pytest.raises(PluginError, match="gave two edits the id 'same'"):
            s.propose("teacher", [EditAsk(e, s.roles["teacher"], count, 0) for e in s.episodes("train")[: 3 - count]])


def test_a_score_of_another_episode_is_refused(tmp_path: Path) -> None:
    other = Gives(lambda asks: [[Score("dogs", "cats/q0", 1.0)]])
    s = parts.session(tmp_path, ScriptedLM({}), evaluator=("evaluator", other))
    with pytest.raises(PluginError, match="belongs to episode 'cats', and its score names 'dogs'"):
        s.evaluate([Ask(s.roles["student"], s.episodes("train")[0])])


# --- meddling ---


def meddle() -> None:
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    os.chdir("/")


class MeddlingWriter(parts.Writer):
    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Any:
        meddle()
        return super().propose(asks, s)


class MeddlingFit(parts.Fit):
    def apply(self, jobs: Sequence[UpdateJob], s: Session, /) -> Any:
        yield from super().apply(jobs, s)
        meddle()


class MeddlingExact(parts.Exact):
    def evaluate(self, asks: Sequence[Ask], references: Any, s: Session, /) -> Any:
        meddle()
        yield from super().evaluate(asks, references, s)


def test_what_a_plugin_changes_of_the_process_is_put_back_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = torch.get_default_dtype(), torch.is_grad_enabled(), os.getcwd()
    slots: dict[str, Any] = {"editor": MeddlingWriter(), "updater": MeddlingFit(), "evaluator": MeddlingExact()}
    s = parts.session(tmp_path, ScriptedLM(parts.knows_after_training), **{k: (k, v) for k, v in slots.items()})
    found = parts.one_round(s)
    assert (torch.get_default_dtype(), torch.is_grad_enabled(), os.getcwd()) == before
    plain = parts.one_round(parts.session(tmp_path / "plain", ScriptedLM(parts.knows_after_training)))
    assert found == plain
    for kind, name in (("editor", "MeddlingWriter"), ("updater", "MeddlingFit"), ("evaluator", "MeddlingExact")):
        left = "left the working folder and torch's default dtype and torch's gradient mode changed"
        assert any(f"{kind} '{name}' {left}" in said for said in caplog.messages)


def test_a_trainer_that_meddles_between_rounds_changes_nothing_either(tmp_path: Path) -> None:
    class Meddles(Gives):
        def run(self, s: Any, /) -> Any:
            meddle()
            yield Round(0, {})
            meddle()

    before = torch.get_default_dtype(), torch.is_grad_enabled(), os.getcwd()
    rounds = _rounds(_built("trainer", Meddles(None)), parts.session(tmp_path, ScriptedLM({})))
    for _ in rounds:
        assert (torch.get_default_dtype(), torch.is_grad_enabled(), os.getcwd()) == before
    assert (torch.get_default_dtype(), torch.is_grad_enabled(), os.getcwd()) == before


def test_what_a_plugin_changes_in_what_it_was_handed_is_changed_for_nobody_else(tmp_path: Path) -> None:
    class Spoils(parts.Exact):
        def evaluate(self, asks: Sequence[Ask], references: Any, s: Session, /) -> Any:
            yield from super().evaluate(asks, references, s)
            for ask in asks:
                ask.episode.context["text"] = "spoilt"  # type: ignore[index]
                for golds in references[ask.episode.id].values():
                    golds.append("spoilt")

    class Rewrites(parts.Writer):
        def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Any:
            found = super().propose(asks, s)
            for ask in asks:
                ask.episode.context["text"] = "spoilt"  # type: ignore[index]
            asks.clear()  # type: ignore[attr-defined]
            return found

    slots: dict[str, Any] = {"editor": ("editor", Rewrites()), "evaluator": ("evaluator", Spoils())}
    s = parts.session(tmp_path, ScriptedLM(parts.knows_after_training), **slots)
    parts.one_round(s)
    book = s.context.episodes
    for split in ("train", "validation", "test"):
        for episode in book.split(split):  # type: ignore[arg-type]
            assert episode.context["text"] == f"{episode.id} {parts.ANIMALS[episode.id]}"
            assert book.references([episode.id]) == {episode.id: {f"{episode.id}/q0": [episode.id]}}
    assert "spoilt" not in repr(s.episodes("train"))
    assert sys.exc_info() == (None, None, None)
