"""The controls: what each of them learns, and that passage-repeat has as many sequences as the edits it replaces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from harness_baselines.editors import AtHand, Passage, PassageRepeat
from harness_baselines.methods import ICL, NONE, PASSAGE, PASSAGE_REPEAT
from harness_seal.editors import Prompted
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.api import EditAsk, Editor, Example, MemoryOps, Recipe, SelfEdit, UpdateJob
from harness.errors import UsageError
from harness.session.service import SessionService
from harness.tasks.squad import Squad
from harness.testing.scripted import ScriptedLM, open_session
from harness.updaters.memory import Memory


def opened(folder: Path, editor: Any, text: str = "a\nb\nc", **task: Any) -> SessionService:
    folder.mkdir(parents=True, exist_ok=True)
    records = [
        {"title": f"Page {n}", "context": f"Moon {n}.", "questions": [{"question": "?", "answer": "a"}]}
        for n in range(5)
    ]
    (folder / "p.json").write_text(json.dumps(records), encoding="utf-8")
    squad = Squad(Squad.Settings(data=str(folder / "p.json"), **task))
    model = ScriptedLM(lambda request, n: text)
    return open_session(
        folder,
        squad,
        {"teacher": model},
        {"editor": ("editor", editor), "updater": ("updater", Memory())},
        roles={"student": "@teacher"},
    )


def proposed(s: SessionService, n: int = 2) -> tuple[SelfEdit, ...]:
    [group] = s.propose("teacher", [EditAsk(s.episodes("test")[0], s.roles["teacher"], n, seed=0)])
    return group.edits


def learnt(s: SessionService, *edits: SelfEdit) -> list[str]:
    found = s.expand(UpdateJob("j", s.roles["student"], edits, seed=0))
    return [item.target for item in found if isinstance(item, Example)]


def test_passage_learns_the_passage_once_whatever_the_task_adds_to_edits(tmp_path: Path) -> None:
    s = opened(tmp_path, Passage(), passage="never")
    [edit] = proposed(s, n=5)
    episode = s.episodes("test")[0]
    assert learnt(s, edit) == [f"{episode.context['title']}\n{episode.context['text']}"]
    assert edit.actions == ()


@settings(max_examples=20, deadline=None)
@given(
    text=st.lists(st.sampled_from(["a", "1. b", "", "---", "Question 1: c", "Answer: d"]), max_size=6).map("\n".join)
)
def test_passage_repeat_takes_as_many_sequences_as_the_edit(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    folder = tmp_path_factory.mktemp("run")
    inner = Prompted(Prompted.Settings())
    theirs = opened(folder / "theirs", inner, text)
    ours = opened(folder / "ours", PassageRepeat(like=inner), text)
    for edit, control in zip(proposed(theirs), proposed(ours), strict=True):
        passages = learnt(ours, control)
        assert len(set(passages)) == 1
        assert control.id == edit.id
        assert control.actions == ()
        if edit.status == "ok":
            assert len(passages) == len(learnt(theirs, edit))
            joined = [s.task.join([e])[0] for s, e in ((theirs, edit), (ours, control))]  # type: ignore[attr-defined]
            assert len(learnt(ours, joined[1])) == len(learnt(theirs, joined[0]))
        else:
            assert len(passages) == 1  # the passage that went with it


def test_passage_repeat_counts_ready_made_examples() -> None:
    class Ready(Editor):
        def propose(self, asks: Any, s: Any, /) -> Any:
            return [[SelfEdit("e/0", "e", (Example("", "x"), Example("", "y"), Recipe("passage")))]]

    nowhere: Any = None
    [[edit]] = PassageRepeat(like=Ready()).propose([], nowhere)
    assert edit.data == (Recipe("repeat", {"times": 1}), Recipe("repeat", {"times": 1}), Recipe("passage"))


def test_passage_repeat_refuses_what_has_no_sequences() -> None:
    class Odd(Editor):
        def propose(self, asks: Any, s: Any, /) -> Any:
            return [[SelfEdit("e/0", "e", (MemoryOps(()),))]]

    nowhere: Any = None
    with pytest.raises(UsageError, match=r"cannot match a MemoryOps: editor\.like"):
        PassageRepeat(like=Odd()).propose([], nowhere)


def test_icl_puts_the_passage_into_the_answering_prompt(tmp_path: Path) -> None:
    s = opened(tmp_path, AtHand())
    [edit] = proposed(s, n=1)
    [done] = s.update("updater", [UpdateJob("j", s.roles["student"], (edit,), 0)])
    episode = s.context.episodes.full(edit.episode)
    assert done.state is not None
    assert done.state.adapters == ()
    assert f"Passage:\n{episode.context['title']}\n{episode.context['text']}\n" in str(
        s.task.prompt(episode.queries[0], done.state.memory, chat=False)
    )


def test_the_cards() -> None:
    assert ICL.open_book
    assert not any(method.open_book for method in (NONE, PASSAGE, PASSAGE_REPEAT))
    assert "editor" not in NONE.components
    assert PASSAGE_REPEAT.components["editor"]["like"] == "@editor"
