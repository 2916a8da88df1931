"""What components are handed gives access to the contract's calls and nothing behind them: every known way is tried."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness import api
from harness.api import Ask, EditAsk, Episode, Example, Query, SelfEdit, Session, TrialJob, UpdateJob
from harness.books.episodes import EpisodeBook
from harness.books.journal import Journal
from harness.books.store import WeightStore
from harness.errors import PluginError
from harness.session.context import RunContext
from harness.session.service import SessionService
from harness.testing import ScriptedLM, ScriptedTask
from tests.session import parts

SECRET = "SECRET-4be1"
PASSAGE = "The long passage that is met at test time speaks of bees, their hum and their hives in the garden."


def world() -> ScriptedTask:
    return ScriptedTask(
        {split: {split: (PASSAGE if split == "test" else f"text of {split}", {f"question of {split}": [SECRET]})}
         for split in ("train", "validation", "test")}
    )  # fmt: skip


@pytest.fixture
def service(tmp_path: Path) -> Iterator[SessionService]:
    s = parts.session(tmp_path, ScriptedLM(lambda request, index: "an answer"), world())
    yield s
    s.journal.close()


def contract_of(protocol: Any) -> set[str]:
    return {name for name in (*vars(protocol), *protocol.__annotations__) if not name.startswith("_")}


def reached(value: Any, seen: dict[int, Any] | None = None) -> dict[int, Any]:
    """Everything that attributes (private ones too), items and values lead to, dunders and code aside."""
    seen = {} if seen is None else seen
    if id(value) in seen or isinstance(value, (type, int, float, bool)) or value is None or inspect.ismodule(value):
        return seen
    seen[id(value)] = value
    if isinstance(value, str):
        return seen
    if isinstance(value, Mapping):
        for key, item in value.items():
            reached(key, seen), reached(item, seen)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            reached(item, seen)
    for name in dir(value):
        if not name.startswith("__"):
            reached(getattr(value, name, None), seen)
    return seen


def test_a_component_is_handed_the_contract_and_nothing_else(tmp_path: Path) -> None:
    handed: list[Session] = []

    class Editor(parts.Writer):
        def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Sequence[Sequence[SelfEdit]]:
            handed.append(s)
            return super().propose(asks, s)

    service = parts.session(tmp_path, ScriptedLM(parts.knows_after_training), editor=("editor", Editor()))
    parts.one_round(service)
    [s] = handed
    assert {name for name in dir(s) if not name.startswith("_")} == contract_of(api.Session)
    assert {name for name in dir(s.lm("teacher")) if not name.startswith("_")} <= contract_of(api.LM)
    assert not hasattr(s.task, "load")
    for name in ("books", "journal", "context", "scope", "measure", "answer", "_slots", "_calls"):
        assert not hasattr(s, name), name
    with pytest.raises(AttributeError):
        s.anything = 1  # type: ignore[attr-defined]


def test_no_attribute_leads_to_a_reference_or_to_the_run(service: SessionService, tmp_path: Path) -> None:
    behind = (SessionService, Journal, EpisodeBook, WeightStore, RunContext, ScriptedTask, ScriptedLM, Path)
    found = reached(service.sealed) | reached(service.sealed.lm("teacher")) | reached(service.sealed.task)
    assert not [value for value in found.values() if isinstance(value, behind)]
    assert not [
        value for value in found.values() if isinstance(value, str) and (SECRET in value or str(tmp_path) in value)
    ]


def test_a_diagnosis_is_booked_where_no_call_reads(service: SessionService) -> None:
    s = service.sealed
    [test] = service.context.episodes.split("test")
    s.diagnose("guess", {test.queries[0].id: SECRET})
    for name in ("guess", "guess/0", "diagnosis/guess/0", "#diagnoses/guess/0", "diagnoses/guess/0"):
        assert s.keep(name) is None
    assert service.journal.kept(f"{service.scope.name}#diagnoses", "guess/0") == {"right": 1, "compared": 1}


def test_scores_of_test_episodes_come_back_without_values(service: SessionService) -> None:
    s = service.sealed
    [test] = s.episodes("test")
    [[score]] = s.evaluate([Ask(s.roles["student"], test)])
    assert (score.value, score.measures) == (None, {})
    edit = SelfEdit("e", test.id, (Example("", "something"),))
    with pytest.raises(PluginError, match="a trial may not use test episode"):
        s.trial([TrialJob(UpdateJob("j", s.roles["student"], (edit,), 0), (test,))])


@pytest.mark.parametrize(
    "context",
    [
        {"title": "test", "text": PASSAGE},
        {"other": ["deeper", {"still": PASSAGE.upper().replace(" ", "\n ")}]},
        {"text": f"Before it. {PASSAGE} And behind it."},
    ],
    ids=["the same", "spaced and cased otherwise", "within another text"],
)
def test_a_copy_of_a_test_context_is_no_made_episode(service: SessionService, context: dict[str, Any]) -> None:
    copy = Episode("mine", "made", context, (Query("mine/0", "question of test"),))
    with pytest.raises(PluginError, match="copies the context of test episode 'test'"):
        service.sealed.make([copy], {"mine": {"mine/0": ["a guess"]}})


def test_a_made_episode_of_its_own_is_welcome(service: SessionService) -> None:
    own = Episode("mine", "made", {"title": "test", "text": "Another passage, which the method has written itself."})
    assert service.sealed.make([own], {"mine": {}}) == [own]


def test_settings_are_read_only_and_name_no_folder_of_runs(tmp_path: Path) -> None:
    import harness

    seen: dict[str, Any] = {}
    source = tmp_path / "nosy.py"
    source.write_text(NOSY, "utf-8")
    harness.run(
        {"method": "nosy", "limit": 1, "beside": [], "leaderboard": "", "out": str(tmp_path / "runs")},
        plugin_files=[source],
    )
    import nosy  # type: ignore[import-not-found]

    seen = nosy.SEEN
    assert seen["refused"]
    assert not {"out", "leaderboard", "edits", "reuse"} & set(seen["keys"])


NOSY = '''
"""An editor that tries to change its settings."""
from harness import hookimpl
from harness.api import Editor

SEEN = {}


class Nosy(Editor):
    def propose(self, asks, s, /):
        SEEN["keys"] = list(s.settings)
        try:
            s.settings["seed"] = 7
        except TypeError:
            SEEN["refused"] = True
        return [[] for _ in asks]


@hookimpl
def harness_editors():
    return {"nosy": "nosy:Nosy"}
'''
