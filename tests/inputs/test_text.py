"""Halves of surrogate pairs are replaced where they come in, and counted; no run stops for them."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import run
from harness.books.records import derive_seed
from harness.evidence.result_file import read
from harness.text import repaired, writable
from tests.inputs.test_loaders import PASSAGES

HALF = "\ud83d"


@given(st.text(st.characters(codec=None)))
def test_every_text_can_be_written_and_good_ones_stay(text: str) -> None:
    writable(text).encode()
    try:
        text.encode()
    except UnicodeEncodeError:
        assert writable(text) != text
    else:
        assert writable(text) is text
    derive_seed(0, text)


def test_halves_that_belong_together_are_joined_and_others_counted() -> None:
    assert writable("\ud83d\ude00 \ude00") == "\U0001f600 \ufffd"
    good = {"a": ("x", [1, None])}
    assert repaired(good) == (good, 0)
    assert repaired(good)[0] is good
    assert repaired({HALF: [f"a{HALF}{HALF}"], "n": 3}) == ({"\ufffd": ["a\ufffd\ufffd"], "n": 3}, 3)


PLUGIN = '''
"""A model that is cut off inside an emoji, an editor that cuts its answers, and a task of broken text."""

from dataclasses import replace

from harness import hookimpl
from harness.api import Example, Method, Request, SelfEdit, Editor
from harness.testing import ScriptedLM, ScriptedTask

HALF = chr(0xD83D)


class Broken(ScriptedLM):
    def __init__(self, weights=None):
        super().__init__(lambda request, index: "cats", name="broken")

    def generate(self, asks):
        return [[replace(one, text=one.text + HALF) for one in row] for row in super().generate(asks)]


class Cut(Editor):
    def propose(self, asks, s):
        s.keep("scratch" , {"note": HALF})
        requests = [Request(ask.state, "Write: " + HALF + ask.episode.context["text"], n=ask.n) for ask in asks]
        return [
            [
                SelfEdit(f"{ask.episode.id}/{n}", ask.episode.id, (Example(HALF, answer.text + HALF),), {"k": HALF},
                         (answer,), reason="said " + HALF)
                for n, answer in enumerate(row)
            ]
            for ask, row in zip(asks, s.lm("teacher").generate(requests))
        ]


class Texts(ScriptedTask):
    name = "texts"

    def __init__(self):
        part = {name: (f"{name} {HALF} text", {f"who is {name}? {HALF}": [name + HALF]}) for name in ("cats", "dogs")}
        super().__init__({"train": {}, "validation": {}, "test": part})


@hookimpl
def harness_models():
    return {"broken": Broken}


@hookimpl
def harness_tasks():
    return {"texts": Texts}


@hookimpl
def harness_editors():
    return {"cut": Cut}


@hookimpl
def harness_methods():
    slots = {"editor": {"use": "cut"}, "updater": {"use": "lora"}, "evaluator": {"use": "closed-book"},
             "trainer": {"use": "none"}}
    return {"cut": Method("cut", "", "cuts", slots)}
'''


def test_a_run_full_of_halves_ends_with_its_notes(tmp_path: Path) -> None:
    file = tmp_path / "broken.py"
    file.write_text(PLUGIN)
    config: dict[str, Any] = {
        "method": "cut", "model": "broken", "task": "texts", "out": str(tmp_path / "runs"), "leaderboard": "",
    }  # fmt: skip
    done = run(config, plugin_files=[file])
    [row] = read(done.folder / "result.json").rows
    assert row.complete
    assert any("of the task's texts replaced by U+FFFD" in note for note in row.notes)
    assert any("of answers and edits replaced by U+FFFD" in note for note in row.notes)
    assert "\ufffd" in (done.folder / "edits" / "cut-0.jsonl").read_text("utf-8")
    assert len(done.scores()) == 2
    again = run({**config, "edits": str(done.folder)}, plugin_files=[file])
    assert again.complete


def test_a_passage_with_half_an_emoji_is_learnt_and_said(tmp_path: Path) -> None:
    data = tmp_path / "passages.json"
    data.write_text(json.dumps([{**one, "title": f"T{n} {HALF}"} for n, one in enumerate(PASSAGES)]))
    done = run(
        {
            "method": "none", "model": "lab", "task": {"use": "squad", "data": str(data)},
            "out": str(tmp_path / "runs"), "leaderboard": "", "beside": [],
        }
    )  # fmt: skip
    assert done.complete
    assert any("of the task's texts replaced" in note for note in done.result.rows[0].notes)


def test_files_and_configurations_are_repaired_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from harness.reading import read_json
    from harness.runs.tables import parse_set

    path = tmp_path / "x.json"
    path.write_text('{"a": "\\ud83d"}')
    with caplog.at_level(logging.WARNING, "harness"):
        assert read_json(path) == {"a": "\ufffd"}
        assert parse_set([f'task.name="{HALF}"'])["task"]["name"] == "\ufffd"
    assert [record.getMessage().count("1 character of its text replaced") for record in caplog.records] == [1, 1]
