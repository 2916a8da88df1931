"""Context distillation: what the editor makes of an edit, and the rounds of the updater that asks the student."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from harness_reading.distilled import Distilled
from harness_reading.on_policy import OnPolicy
from harness_seal.editors import SelfQa

from harness.api import (
    Completion,
    Distillation,
    EditAsk,
    Example,
    Recipe,
    Request,
    SelfEdit,
    Trained,
    TrainItem,
    UpdateJob,
)
from harness.session.service import SessionService
from harness.testing import ScriptedLM, ScriptedTask, UpdaterContract, open_session

PAGES = {f"page{i}": (f"text of page {i}", {f"what is page{i}?": [str(i)]}) for i in range(3)}
WRITTEN = "Who made it?\nAnswer: Ana\nQuestion 2: Where?\nAnswer: Rome\nQuestion 3: Who made it?\nAnswer: Bo"


class Paired(ScriptedTask):
    """Splits a text with numbered questions as the real task does."""

    def expand(self, recipe: Recipe, episode: Any, seed: int, /) -> Sequence[Example]:
        if recipe.name != "lines" or "Question" not in str(recipe.args["text"]):
            return super().expand(recipe, episode, seed)
        parts = str(recipe.args["text"]).split("\nQuestion")
        return [Example("", part if part.startswith("Question") else f"Question{part}") for part in parts]


class Heard(ScriptedLM):
    """Notes what it is trained on."""

    def __init__(self, answers: Any) -> None:
        super().__init__(answers, name="heard")
        self.items: list[TrainItem] = []

    def train(self, items: Sequence[TrainItem], loss: str | Any = "sft") -> Iterator[Trained]:
        self.items += items
        yield from super().train(items, loss)


def opened(folder: Path, written: str = WRITTEN, **slots: Any) -> tuple[SessionService, Heard]:
    def rule(request: Request, n: int) -> str:
        return written if "turn it into questions" in str(request.prompt) else f"said {len(request.state.adapters)}"

    model = Heard(rule)
    task = Paired({"train": PAGES, "validation": {}, "test": {}})
    built = {name: (name, one) for name, one in slots.items()}
    return open_session(folder, task, {"teacher": model}, built, roles={"student": "@teacher"}), model


def proposed(folder: Path, written: str = WRITTEN, **settings: Any) -> SelfEdit:
    editor = Distilled(Distilled.Settings(**settings), SelfQa(SelfQa.Settings()))
    s, _ = opened(folder, written, editor=editor)
    [group] = s.propose("teacher", [EditAsk(s.episodes("train")[0], s.roles["teacher"], 1, 0)])
    s.journal.close()
    return group.edits[0]


def test_questions_are_asked_without_the_passage_and_answered_with_it(tmp_path: Path) -> None:
    edit = proposed(tmp_path, top=7)
    first, second, passage = edit.data
    assert first == Distillation(
        "\nQuestion: Who made it?\nAnswer:", "Ana", "text of page 0\nQuestion: Who made it?\nAnswer:", "start", 7
    )
    assert isinstance(second, Distillation)
    assert second.target == "Rome", "a question that is asked twice is learnt once"
    assert passage == Recipe("passage")
    assert len(proposed(tmp_path / "alone", passage=False).data) == 2
    assert edit.actions[0].text == WRITTEN


def test_the_control_learns_the_same_answers_as_tokens(tmp_path: Path) -> None:
    taught, plain = proposed(tmp_path / "a").data, proposed(tmp_path / "b", learn="tokens").data
    assert [(one.prompt, one.target) for one in taught[:2]] == [(one.prompt, one.target) for one in plain[:2]]  # type: ignore[union-attr]
    assert all(isinstance(one, Example) for one in plain[:2])


def test_a_text_is_read_after_the_passage_sequence_by_sequence(tmp_path: Path) -> None:
    data = proposed(tmp_path, of="sequences").data
    assert data[0] == Distillation("", "Question 1: Who made it?\nAnswer: Ana", "text of page 0\n\n", "start")
    assert len(data) == 4
    fallback = proposed(tmp_path / "none", "no question at all").data
    assert fallback[0] == Distillation("", "Question 1: no question at all", "text of page 0\n\n", "start")


def test_an_edit_that_failed_stays_failed(tmp_path: Path) -> None:
    edit = proposed(tmp_path, "")
    assert edit.status == "failed"


class TestOnPolicy(UpdaterContract):
    component = OnPolicy


def learnt(folder: Path, data: Sequence[Any], **settings: Any) -> tuple[Heard, Mapping[str, Any], SessionService]:
    s, model = opened(folder, updater=OnPolicy(OnPolicy.Settings(**settings)))
    edit = SelfEdit("page1/0", "page1", tuple(data))
    [done] = s.update("updater", [UpdateJob("job", s.roles["student"], (edit,), 7)])
    assert done.state is not None
    assert len(done.state.adapters) == 1
    return model, done.log, s


TAUGHT = Distillation("ask", "never said", "passage ask", "start")


def test_the_student_writes_anew_in_every_round_and_its_teacher_stays(tmp_path: Path) -> None:
    model, log, _ = learnt(tmp_path, [TAUGHT, Example("", "the passage")], rounds=3, samples=2, epochs=9)
    assert [item.start_as for item in model.items] == ["stack", "continue", "continue"]
    assert [item.settings["epochs"] for item in model.items] == [3, 3, 3]
    targets = [[one.target for one in item.data] for item in model.items]
    assert targets == [["said 0", "said 0", "the passage"], *[["said 1", "said 1", "the passage"]] * 2]
    assert all(one.teacher == "base" for item in model.items for one in item.data if isinstance(one, Distillation))
    assert (log["own"], log["empty"]) == (6, 0)
    own = [request for request in model.asked if request.prompt == "ask"]
    assert len({request.seed for request in own}) == 3
    assert all(request.n == 2 for request in own)


def test_nothing_but_the_last_round_is_kept(tmp_path: Path) -> None:
    _, _, s = learnt(tmp_path, [TAUGHT], rounds=3)
    assert len(s.context.weights.held()) == 1
    assert not s.context.weights._passing


def test_a_student_without_words_learns_the_edits_own(tmp_path: Path) -> None:
    s, model = opened(tmp_path, updater=OnPolicy(OnPolicy.Settings(rounds=1)))
    model._answer = lambda request, n: " "
    s.update("updater", [UpdateJob("job", s.roles["student"], (SelfEdit("page1/0", "page1", (TAUGHT,)),), 7)])
    assert [one.target for item in model.items for one in item.data] == ["never said"]


def test_a_lost_sample_is_an_error_of_ours_and_nothing_is_learnt_from_it(tmp_path: Path) -> None:
    s, model = opened(tmp_path, updater=OnPolicy(OnPolicy.Settings(rounds=2)))
    model.generate = lambda asks: [  # type: ignore[method-assign]
        [Completion(ask, "", finish="error", reason="the server went away")] for ask in asks
    ]
    edits = (SelfEdit("page1/0", "page1", (TAUGHT,)),)
    [done] = s.update("updater", [UpdateJob("job", s.roles["student"], edits, 7)])
    assert (done.status, done.state, done.reason) == ("error", None, "the server went away")
    assert not model.items


@pytest.mark.parametrize("given", [{"rounds": 0}, {"samples": 0}])
def test_settings_out_of_range_are_refused(given: dict[str, int]) -> None:
    from harness.errors import UsageError
    from harness.registry.settings import check_settings

    with pytest.raises(UsageError, match=next(iter(given))):
        check_settings(OnPolicy.Settings, given, "updater", "updater on-policy")
