"""The editor ``recorded``: the published completions, matched by passage, in their order."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from harness_replay.editor import Recorded, RecordedSettings

from harness.api import EditAsk, Episode, HarnessError, Recipe, Session, State
from tests.replay.logs import passages, save
from tests.shared_data import shared

NO_SESSION = cast(Session, None)
"""Nothing is asked of a session: the edits are recorded."""


def _ask(text: str, n: int = 1) -> EditAsk:
    return EditAsk(Episode("e", "test", {"title": "T", "text": text}), State("base"), n, 0)


def _records() -> list[dict[str, Any]]:
    return [{**one, "completions": [f"first of {one['context']}", "", "third"], "prompt": "p"} for one in passages()]


def test_completions_in_order(tmp_path: Path) -> None:
    editor = Recorded(RecordedSettings(str(save(tmp_path / "edits.json", _records()))))
    (edits,) = editor.propose([_ask(" Passage number 3. ", 3)], NO_SESSION)
    assert [edit.id for edit in edits] == ["e/0", "e/1", "e/2"]
    assert edits[0].data == (Recipe("lines", {"text": "first of Passage number 3."}), Recipe("passage"))
    assert edits[1].data == (Recipe("passage"),)
    assert edits[2].actions[0].text == "third"
    assert edits[2].actions[0].request.prompt == "p"


def test_later_completions(tmp_path: Path) -> None:
    editor = Recorded(RecordedSettings(str(save(tmp_path / "edits.json", _records())), first=2))
    assert editor.propose([_ask("Passage number 0.")], NO_SESSION)[0][0].actions[0].text == "third"


@pytest.mark.parametrize(
    ("change", "text", "n", "said"),
    [
        (lambda records: records, "Another passage.", 1, "no edit for the passage 'T'"),
        (lambda records: records, "Passage number 0.", 4, "3 completions for 'T0', 4 are needed"),
        (lambda records: records + records[:1], "Passage number 0.", 1, "record 6 repeats the passage"),
        (lambda records: [{"title": "T"}], "Passage number 0.", 1, "record 0: context is missing"),
        (lambda records: {"title": "T"}, "Passage number 0.", 1, "a list of passages"),
    ],
)
def test_what_is_not_recorded_is_said(tmp_path: Path, change: Any, text: str, n: int, said: str) -> None:
    editor = Recorded(RecordedSettings(str(save(tmp_path / "edits.json", change(_records())))))
    with pytest.raises(HarnessError) as caught:
        editor.propose([_ask(text, n)], NO_SESSION)
    assert said in str(caught.value)


def test_the_file_must_be_named() -> None:
    with pytest.raises(HarnessError, match=r"editor\.edits=FILE"):
        Recorded(RecordedSettings())


def test_the_published_edits_of_the_test_passages() -> None:
    from harness_replay.questions import load_json

    path = shared("seal/edits/val_base.json")
    records = load_json(path)
    edits = Recorded(RecordedSettings(str(path))).propose([_ask(one["context"], 5) for one in records], NO_SESSION)
    assert [[edit.actions[0].text for edit in row] for row in edits] == [one["completions"] for one in records]
