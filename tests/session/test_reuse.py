"""Results of earlier runs are reused by digest, except those that a change could have affected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import harness
from harness.books.reuse import changes
from harness.errors import UsageError
from tests.runner.test_runner import PLUGIN


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """A copy of the scripted world that a test may edit."""
    file = tmp_path / "source" / "animals.py"
    file.parent.mkdir()
    file.write_text(PLUGIN.read_text("utf-8"), "utf-8")
    return file


def run(plugin: Path, **more: Any) -> harness.Run:
    base = {"method": "animals", "model": "animals", "beside": ["bare"], "reuse": "auto", "leaderboard": "", "limit": 4,
            "out": str(plugin.parents[1] / "runs")}  # fmt: skip
    return harness.run({**base, **more}, plugin_files=[plugin])


def edit(plugin: Path, before: str, after: str) -> None:
    text = plugin.read_text("utf-8")
    assert before in text
    plugin.write_text(text.replace(before, after), "utf-8")


def result(done: harness.Run) -> Any:
    return [(row.method, row.scores, row.curve) for row in done.result.rows]


def test_an_unchanged_run_is_taken_over_whole(plugin: Path) -> None:
    first = run(plugin)
    again = run(plugin)
    assert (again.ran, again.changed) == (0, [])
    assert set(again.taken) == {first.folder.name}
    assert result(again) == result(first)
    weights = {path.name for path in (first.folder / "weights").iterdir()}
    assert {path.name for path in (again.folder / "weights").iterdir()} == weights
    assert harness.resume(again.folder).ran == 0, "it holds what it took over"


def test_nothing_is_taken_over_unless_asked(plugin: Path) -> None:
    first = run(plugin)
    assert run(plugin, reuse="").ran == first.ran


def test_a_changed_setting_runs_what_it_touches(plugin: Path) -> None:
    run(plugin)
    other = run(plugin, editor={"temperature": 0.5})
    assert other.changed == ["editor 'writer' (its temperature changed)"]
    assert set(other.ran_of) == {"completions by 'animals'", "calls by 'writer'", "calls by 'trial-mean'"}, (
        "the texts are the same, so every update and answer to them is known"
    )


def test_changed_source_runs_what_it_touches(plugin: Path) -> None:
    first = run(plugin)
    edit(plugin, "f\"Write: {a.episode.context['text']}\"", "f\"Write: it is said that {a.episode.context['text']}\"")
    done = run(plugin)
    # The file holds model, task and loop too, and any of them might have changed.
    assert "editor 'writer' (its source changed)" in done.changed
    assert done.ran == first.ran


def test_a_part_in_a_file_of_its_own_leaves_the_rest_alone(plugin: Path, tmp_path: Path) -> None:
    mine = plugin.with_name("my_editor.py")
    mine.write_text(
        "from harness import hookimpl\n"
        "from harness.api import Editor, Example, SelfEdit\n\n"
        "@hookimpl\ndef harness_editors():\n    return {'my-editor': 'my_editor:Mine'}\n\n"
        "class Mine(Editor):\n"
        "    def propose(self, asks, s):\n"
        "        return [[SelfEdit(f'{a.episode.id}/0', a.episode.id, (Example('', a.episode.context['text']),))]\n"
        "                for a in asks]\n",
        "utf-8",
    )

    def both() -> harness.Run:
        config = {"method": "animals", "model": "animals", "beside": ["bare"], "reuse": "auto", "leaderboard": "",
                  "limit": 4, "out": str(tmp_path / "runs"), "editor": "my-editor"}  # fmt: skip
        return harness.run(config, plugin_files=[plugin, mine])

    first = both()
    edit(mine, "        return", "        # a remark\n        return")
    assert (both().ran, both().changed) == (0, []), "a remark changes nothing"
    edit(mine, "        return", "        pass\n        return")
    rewritten = both()
    assert rewritten.changed == ["editor 'my-editor' (its source changed)"]
    assert set(rewritten.ran_of) == {"calls by 'my-editor'", "calls by 'trial-mean'"}, "what it wrote is the same"
    assert result(rewritten)[0] == result(first)[0]

    edit(mine, "a.episode.context['text']", "a.episode.context['text'] + ' indeed'")
    other = both()
    assert {"trials by 'fit'", "updates by 'fit'"} <= set(other.ran_of)
    assert "evaluations by 'match'" not in other.ran_of or other.ran < first.ran


def test_a_run_can_be_named_and_must_be_there(plugin: Path) -> None:
    first = run(plugin)
    assert run(plugin, reuse=str(first.folder)).ran == 0
    with pytest.raises(UsageError, match="there is no run"):
        run(plugin, reuse=str(first.folder) + "x")


def test_another_environment_is_not_taken_from(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(plugin)
    monkeypatch.setattr("harness.runs.runner.describe_environment", lambda: {"versions": {"torch": "9"}})
    assert run(plugin).ran == first.ran
    with pytest.raises(UsageError, match="other versions or hardware"):
        run(plugin, reuse=str(first.folder))


def test_released_weights_are_made_again(plugin: Path) -> None:
    import shutil

    first = run(plugin)
    for folder in (first.folder / "weights").iterdir():
        shutil.rmtree(folder)
    again = run(plugin)
    assert set(again.ran_of) == {"updates by 'fit'"}
    assert result(again)[0] == result(first)[0]


def test_what_changed_is_said_in_words() -> None:
    old = {"component": "a", "source": "1", "settings": {"rate": 1, "rank": 2}, "nested": {}}
    slots = {
        "editor": {**old, "component": "b"},
        "reward": {**old, "source": "2"},
        "updater": {**old, "settings": {"rate": 3}},
        "evaluator": {**old, "nested": {"inner": {}}},
        "task": old,
    }
    assert changes(dict.fromkeys(slots, old), slots) == [
        "editor 'b' (not there before)",
        "reward 'a' (its source changed)",
        "updater 'a' (its rank, rate changed)",
        "evaluator 'a' (a part of it changed)",
    ]
