"""The updater ``retain``: what an update is shown beside its edit, and who pays for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from harness_lab.facts_task import LabFactsSettings
from harness_lasting.methods import NAMES
from harness_lasting.retain import Retain, RetainSettings

from harness.api import (
    Completion,
    Distillation,
    Example,
    HarnessError,
    Recipe,
    Request,
    SelfEdit,
    Trained,
    TrainItem,
    Updated,
    UpdateJob,
)
from harness.errors import RunError
from harness.registry.discover import Plugins
from harness.runs.config import resolve
from harness.session.service import SessionService
from harness.testing import ScriptedLM, ScriptedTask, UpdaterContract, open_session

PAGES = {f"page{i}": (f"text of page {i}", {f"what is page{i}?": [str(i)]}) for i in range(6)}


class TestRetain(UpdaterContract):
    component = Retain


class Heard(ScriptedLM):
    """Notes what it is trained on."""

    def __init__(self) -> None:
        super().__init__(lambda request, index: f"words {request.seed % 10**6}", name="heard")
        self.data: dict[str, Sequence[Any]] = {}
        self.epochs: dict[str, int] = {}
        self.retained: dict[str, Sequence[Any]] = {}
        self.losses: list[Any] = []

    def train(self, items: Sequence[TrainItem], loss: str | Any = "sft") -> Iterator[Trained]:
        self.data |= {item.id: item.data for item in items}
        self.epochs |= {item.id: item.settings["epochs"] for item in items}
        self.retained |= {item.id: item.retained for item in items}
        self.losses.append(loss)
        yield from super().train(items, loss)


class Titled(ScriptedTask):
    """Contexts with a title, which own words begin with."""

    def load(self, split: Any, /) -> Any:
        import dataclasses

        rows = super().load(split)
        return [(dataclasses.replace(e, context={**e.context, "title": f"Title {e.id}"}), r) for e, r in rows]


def opened(folder: Path, **settings: Any) -> tuple[SessionService, Heard]:
    model = Heard()
    task = Titled({"train": PAGES, "validation": {}, "test": {}})
    slots = {"updater": ("updater", Retain(RetainSettings(**settings)))}
    return open_session(folder, task, {"teacher": model}, slots, roles={"student": "@teacher"}), model


def edit(s: SessionService, page: str, *texts: str) -> SelfEdit:
    ask = Completion(Request(s.roles["student"], f"Write about {page}:"), f"written for {page}")
    return SelfEdit(f"{page}/0", page, tuple(Example("", text) for text in texts), actions=(ask,))


def learnt(folder: Path, **settings: Any) -> tuple[list[Any], Updated]:
    """What an update on page3 is trained on, after edits of page1 and page2 with two sequences each."""
    s, model = opened(folder, **settings)
    earlier = (edit(s, "page1", "a1", "b1"), edit(s, "page2", "a2", "b2"))
    job = UpdateJob("job", s.roles["student"], (edit(s, "page3", "a3", "b3"),), 7, earlier=earlier)
    [done] = s.update("updater", [job])
    return list(model.data.get("job", ())), done


def targets(data: Sequence[Any]) -> list[str]:
    return [one.target for one in data]


def test_without_settings_it_is_a_plain_update(tmp_path: Path) -> None:
    data, done = learnt(tmp_path)
    assert data == [Example("", "a3"), Example("", "b3")]
    assert {name: done.log[name] for name in ("new", "rehearsed", "words", "tethered")} == {
        "new": 2, "rehearsed": 0, "words": 0, "tethered": 0
    }  # fmt: skip


def test_rehearsal_takes_a_share_of_what_is_kept(tmp_path: Path) -> None:
    assert targets(learnt(tmp_path / "all", rehearse=1.0)[0]) == ["a3", "b3", "a1", "b1", "a2", "b2"]
    half, done = learnt(tmp_path / "half", rehearse=0.5)
    assert (len(half), done.log["rehearsed"]) == (4, 2)
    assert half == learnt(tmp_path / "again", rehearse=0.5)[0], "the draw is the job's own"
    assert targets(learnt(tmp_path / "buffer", rehearse=1.0, buffer=1)[0]) == ["a3", "b3", "a2", "b2"]
    last = learnt(tmp_path / "start", rehearse=1.0, rehearse_as="start")[0][-1]
    assert last == Distillation("", "b2", teacher="start")


def test_own_words_go_on_from_titles_and_are_held_to_the_untouched_model(tmp_path: Path) -> None:
    data, done = learnt(tmp_path / "base", words=5, words_weight=2.0)
    words = data[2:]
    assert done.log["words"] == len(words) == 5
    assert all(isinstance(one, Distillation) and (one.teacher, one.weight) == ("base", 2.0) for one in words)
    assert all(one.prompt.startswith("Title page") and one.prompt.endswith("\n") for one in words)
    assert len({one.target for one in words}) == 5
    assert all(isinstance(one, Example) for one in learnt(tmp_path / "tokens", words=2, words_as="tokens")[0])


def test_lost_own_words_end_the_run_and_are_not_left_out(tmp_path: Path) -> None:
    s, model = opened(tmp_path, words=3)
    model.generate = lambda asks: [  # type: ignore[method-assign]
        [Completion(ask, "", finish="error", reason="the server went away")] for ask in asks
    ]
    with pytest.raises(RunError, match="own words of job 'job' were lost: the server went away"):
        s.update("updater", [UpdateJob("job", s.roles["student"], (edit(s, "page1", "a text"),), 7)])


def test_the_edit_is_tethered_under_the_prompt_that_asked_for_it(tmp_path: Path) -> None:
    data, _ = learnt(tmp_path, prompts=0.5)
    assert data[2:] == [Distillation("Write about page3:", "written for page3", teacher="base", weight=0.5)]


@pytest.mark.parametrize(("steps", "epochs"), [(0, 10), (60, 30), (1, 1)])
def test_steps_may_be_fixed_whatever_is_shown(steps: int, epochs: int, tmp_path: Path) -> None:
    s, model = opened(tmp_path, steps=steps)
    s.update("updater", [UpdateJob("job", s.roles["student"], (edit(s, "page3", "a3", "b3"),), 7)])
    assert model.epochs == {"job": epochs}


def test_an_earlier_edit_that_makes_no_sequences_fails_its_own_update_alone(tmp_path: Path) -> None:
    s, model = opened(tmp_path, rehearse=1.0)
    bad = SelfEdit("page1/0", "page1", (Recipe("no-such-recipe"),))
    jobs = [
        UpdateJob("good", s.roles["student"], (edit(s, "page3", "a3"),), 1),
        UpdateJob("bad", s.roles["student"], (edit(s, "page4", "a4"),), 2, earlier=(bad,)),
    ]
    good, failed = s.update("updater", jobs)
    assert (good.status, failed.status) == ("ok", "failed")
    assert [*model.data] == ["good"]


def test_what_was_learnt_before_is_part_of_what_an_update_is(tmp_path: Path) -> None:
    """Another history is another update, and the same one is found again."""
    s, model = opened(tmp_path, rehearse=1.0)
    start, new = s.roles["student"], edit(s, "page3", "a3")
    histories = [(edit(s, "page1", "a1"),), (edit(s, "page1", "other"),), (edit(s, "page1", "a1"),), ()]
    jobs = [UpdateJob(f"job{i}", start, (new,), 1, earlier=one) for i, one in enumerate(histories)]
    states = [done.state for job in jobs for done in s.update("updater", [job])]
    assert states[0] == states[2]
    assert len({state.adapters for state in states if state}) == 3
    assert len(model.data) == 3


def test_a_share_beyond_all_is_refused() -> None:
    from harness.registry.settings import check_settings

    with pytest.raises(HarnessError, match="rehearse"):
        check_settings(RetainSettings, {"rehearse": 1.5}, "updater", "updater retain")


def test_restraints_are_measured_on_earlier_edits_and_own_words_which_are_not_learnt(tmp_path: Path) -> None:
    s, model = opened(tmp_path, ewc=0.5, retained=3, retained_words=2)
    earlier = (edit(s, "page1", "a1", "b1"), edit(s, "page2", "a2", "b2"))
    start = s.roles["student"]
    first = UpdateJob("first", start, (edit(s, "page0", "a0"),), 6)
    later = UpdateJob("later", start, (edit(s, "page3", "a3"),), 7, earlier=earlier)
    assert all(done.status == "ok" for done in s.update("updater", [first, later]))
    assert model.losses == [{"use": "sft", "ewc": 0.5, "orthogonal": 0.0, "null_space": 0.0}]
    assert targets(model.data["later"]) == ["a3"]
    kept, words = model.retained["later"][:3], model.retained["later"][3:]
    assert set(targets(kept)) < {"a1", "b1", "a2", "b2"}
    assert [one.prompt.startswith("Title page") for one in words] == [True, True]
    assert len(model.retained["first"]) == 2, "own words alone"


def test_without_restraints_nothing_is_retained(tmp_path: Path) -> None:
    s, model = opened(tmp_path, words=1)
    s.update("updater", [UpdateJob("job", s.roles["student"], (edit(s, "page3", "a3"),), 7)])
    assert (model.retained["job"], model.losses) == ((), ["sft"])


@pytest.mark.parametrize("setting", ["orthogonal", "null_space"])
def test_what_holds_back_a_new_adapter_does_not_continue_one(setting: str, tmp_path: Path) -> None:
    s, _ = opened(tmp_path, **{setting: 0.5})
    [done] = s.update("updater", [UpdateJob("one", s.roles["student"], (edit(s, "page1", "a"),), 1)])
    assert done.state is not None
    on = UpdateJob("two", done.state, (edit(s, "page2", "b"),), 1, start_as="continue")
    with pytest.raises(HarnessError, match=r"set protocol\.start_as to 'stack' or 'fold'"):
        s.update("updater", [on])


@pytest.mark.parametrize("name", sorted(NAMES))
@pytest.mark.parametrize("preset", ["lab", "quick"])
def test_a_preset_has_whole_sequences(name: str, preset: str) -> None:
    """Of as many pages as its task has."""
    config = resolve({"method": name, "preset": preset, "model": "lab", "beside": []}, Plugins())
    pages = min(config.options.limit, {"test": LabFactsSettings().test, **config.task}["test"])
    length = config.arms[0].protocol["length"]
    assert pages == config.options.limit
    assert pages % length == 0
    assert preset == "quick" or pages // length >= 4
