"""An item is reused only while every file that was read to make it is unchanged."""

from __future__ import annotations

import functools
import linecache
import os
from pathlib import Path
from typing import Any

import pytest

import harness
from harness import reads
from harness.api import EditAsk
from harness.errors import UsageError
from harness.testing import ScriptedLM
from tests.runner.test_runner import PLUGIN
from tests.session.parts import session

EDITOR = """
import functools, json, os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from harness import hookimpl
from harness.api import Example, SelfEdit, Editor
from harness.reads import untracked

HERE = Path(__file__).parent
{top}

@hookimpl
def harness_editors():
    return {{"mine": "mine:Mine"}}

@dataclass(frozen=True)
class Settings:
    file: str = ""

class Mine(Editor):
    Settings = Settings

    def __init__(self, settings):
        self.settings = settings
        {made}

    def propose(self, asks, s):
        {called}
        return [[SelfEdit(a.episode.id + "/0", a.episode.id, (Example("", a.episode.context["text"] + text),))]
                for a in asks]
"""
READ = "(HERE / 'prompt.txt').read_text()"
WAYS = {
    "in a call": {"called": f"text = {READ}"},
    "when made": {"made": f"self.text = {READ}", "called": "text = self.text"},
    "at import": {"top": f"TEXT = {READ}", "called": "text = TEXT"},
    "cached by its module": {
        "top": f"@functools.cache\ndef load():\n    return {READ}",
        "called": "text = load()",
    },
    "in a thread": {
        "called": "\n        with ThreadPoolExecutor() as pool:\n"
        "            [text] = pool.map(Path.read_text, [HERE / 'prompt.txt'])"
    },
    "through os.open": {
        "called": "handle = os.open(HERE / 'prompt.txt', os.O_RDONLY)\n"
        "        text = os.read(handle, 1000).decode(); os.close(handle)"
    },
    "by a setting": {"called": "text = Path(self.settings.file).read_text()"},
    "if it is there": {
        "called": "\n        try:\n            text = (HERE / 'more.txt').read_text()\n"
        "        except FileNotFoundError:\n"
        f"            text = {READ}"
    },
}


class World:
    """A run of the scripted world with an editor in a file of its own, and a prompt beside it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.prompt = root / "source" / "prompt.txt"
        self.prompt.parent.mkdir()
        self.write(self.prompt, "one")

    def write(self, path: Path, text: str) -> None:
        path.write_text(text, "utf-8")

    def editor(self, top: str = "", made: str = "pass", called: str = "text = ''") -> None:
        self.write(self.root / "source" / "mine.py", EDITOR.format(top=top, made=made, called=called))

    def run(self, **more: Any) -> harness.Run:
        config = {"method": "animals", "model": "animals", "beside": [], "reuse": "auto", "leaderboard": "", "limit": 2,
                  "validation": 0, "out": str(self.root / "runs"),
                  "editor": {"use": "mine", "file": str(self.prompt)}, "trainer": "none", **more}  # fmt: skip
        return harness.run(config, plugin_files=[PLUGIN, self.root / "source" / "mine.py"])

    def deployed(self, run: harness.Run) -> str:
        return (run.folder / "edits" / "animals-0.jsonl").read_text("utf-8")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.mark.parametrize("way", WAYS)
def test_an_edited_prompt_is_never_answered_from_an_earlier_run(world: World, way: str) -> None:
    world.editor(**WAYS[way])
    assert '"one"' not in world.deployed(first := world.run())
    assert world.run().ran == 0, "nothing changed"
    world.write(world.prompt.with_name("beside.txt"), "read by nobody")
    assert world.run().ran == 0
    world.write(world.prompt, "two")
    second = world.run()
    assert "animaltwo" in world.deployed(second)
    assert "calls by 'mine'" in second.ran_of
    assert f"{world.prompt} (read by 'mine')" in second.changed or way == "if it is there"
    world.write(world.prompt, "one")
    third = world.run()
    assert third.ran == 0, "what was made from this content is found again"
    assert world.deployed(third) == world.deployed(first)


def test_a_file_that_appears_counts(world: World) -> None:
    world.editor(**WAYS["if it is there"])
    world.run()
    world.write(world.prompt.with_name("more.txt"), "three")
    assert "animalthree" in world.deployed(world.run())


def test_a_name_that_appears_in_a_listed_folder_counts(world: World) -> None:
    shots = world.root / "source" / "shots"
    shots.mkdir()
    world.write(shots / "a.txt", "a")
    world.editor(called="text = ' '.join(sorted(p.stem for p in (HERE / 'shots').iterdir()))")
    world.run()
    assert world.run().ran == 0
    world.write(shots / "b.txt", "b")
    assert "animala b" in world.deployed(world.run())


def test_the_rest_is_taken_over(world: World) -> None:
    world.editor(called=f"text = {READ}[:1]")
    world.run()
    world.write(world.prompt, "only")
    done = world.run()
    assert set(done.ran_of) == {"calls by 'mine'"}, "the same texts came of it, so updates and answers are known"


def test_resume_refuses_or_recomputes(world: World) -> None:
    world.editor(**WAYS["in a call"])
    first = world.run()
    world.write(world.prompt, "two")
    with pytest.raises(UsageError, match=r"prompt\.txt changed since it was read in this run for edits by 'mine'"):
        harness.resume(first.folder)
    again = harness.resume(first.folder, recompute=True)
    assert "animaltwo" in world.deployed(again)
    assert harness.resume(first.folder).ran == 0, "what is no longer used is in nobody's way"


def test_what_a_function_of_another_object_read_counts_for_its_caller(world: World) -> None:
    inner = f"class Inner:\n    def text(self):\n        return {READ}\n\n\nINNER = Inner()"
    world.editor(top=inner, called="text = INNER.text()")
    world.run()
    world.write(world.prompt, "two")
    assert "animaltwo" in world.deployed(world.run())


def test_what_a_model_read_counts_for_its_answers_and_for_whoever_asked(tmp_path: Path) -> None:
    answers = tmp_path / "answers.txt"

    def open_it(text: str) -> ScriptedLM:
        answers.write_text(text, "utf-8")
        lm = ScriptedLM(lambda request, index: answers.read_text("utf-8"))
        for again in (False, True):
            s = session(tmp_path / "run", lm)
            s.journal._recompute = True
            lm.asked.clear()
            asks = [EditAsk(e, s.roles["teacher"], 1, 0) for e in s.episodes("train")]
            [group, *_] = s.propose("teacher", asks)
            assert bool(lm.asked) is not again
            assert text in str(group.edits[0].actions[0].text)
            s.journal.close()
        return lm

    open_it("first")
    open_it("second")


def test_what_is_read_untracked_does_not_count(world: World) -> None:
    log = world.prompt.with_name("log.txt")
    world.write(log, "one")
    world.editor(called="\n        with untracked():\n            (HERE / 'log.txt').read_text()\n        text = ''")
    world.run()
    world.write(log, "two")
    assert world.run().ran == 0


def test_what_a_component_wrote_itself_does_not_count(world: World) -> None:
    world.editor(
        made="self.path = HERE / 'cache.json'",
        called="self.path.write_text(json.dumps({'a': 1}))\n        text = self.path.read_text()",
    )
    world.run()
    world.write(world.root / "source" / "cache.json", "{}")
    assert world.run().ran == 0


def test_weights_beside_a_json_file_count(world: World) -> None:
    weights = world.root / "source" / "w.safetensors"
    world.write(weights, "1")
    world.write(world.root / "source" / "config.json", "{}")
    world.editor(made="json.loads((HERE / 'config.json').read_text())")
    world.run()
    assert world.run().ran == 0
    world.write(weights, "2")
    assert "calls by 'mine'" in world.run().ran_of


TASK = """
import json
from dataclasses import dataclass
from pathlib import Path
from harness import hookimpl
from harness.api import Episode, Example, Query, Task

@hookimpl
def harness_tasks():
    return {"towns": "towns:Towns"}

@dataclass(frozen=True)
class Settings:
    data: str = ""

class Towns(Task):
    Settings = Settings
    name, version, metric = "towns", "1", "exact"

    def __init__(self, settings):
        self.settings = settings

    def load(self, split):
        towns = json.loads(Path(self.settings.data).read_text()) if split == "test" else {}
        return [(Episode(t, split, {"title": t, "text": f"{t} is an animal"}, (Query(t, f"who is {t}?"),)), {t: [t]})
                for t in towns]

    def prompt(self, query, memory, *, chat):
        return (Path(__file__).parent / "ask.txt").read_text() + f"Question: {query.text}"

    def expand(self, recipe, episode, seed):
        return [Example("", episode.context["text"])]

    def extract(self, query, answer):
        return answer.strip() or None

    def same(self, query, a, b):
        return a == b
"""


def test_data_that_a_tasks_settings_name_count_item_by_item_and_its_prompt_for_all(world: World) -> None:
    source = world.root / "source"
    world.write(source / "towns.py", TASK)
    world.write(source / "data.json", '["cats1", "dogs2"]')
    world.write(source / "ask.txt", "")

    def run() -> harness.Run:
        config = {"method": "bare", "model": "animals", "beside": [], "reuse": "auto", "leaderboard": "",
                  "validation": 0, "out": str(world.root / "runs"),
                  "task": {"use": "towns", "data": str(source / "data.json")}}  # fmt: skip
        return harness.run(config, plugin_files=[PLUGIN, source / "towns.py"])

    assert run().ran_of == {"completions by 'animals'": 2, "evaluations by 'match'": 2}
    assert run().ran == 0
    world.write(source / "data.json", '["cats1", "dogs2", "cats4"]')
    assert run().ran_of == {"completions by 'animals'": 1, "evaluations by 'match'": 1}
    world.write(source / "ask.txt", "Answer. ")
    assert run().ran_of == {"completions by 'animals'": 3, "evaluations by 'match'": 3}


def test_a_file_that_changes_while_it_is_used_is_never_taken_for_the_old_one(tmp_path: Path) -> None:
    reads.watch()
    path = tmp_path / "growing.txt"
    path.write_text("a", "utf-8")
    reader = reads.Reader()
    reads.call(reader, path.read_text)
    path.write_text("ab", "utf-8")
    assert reader.files() == {str(path): reads.UNKNOWN}
    assert reads.changed(reader.files()) == [str(path)]


def test_a_file_that_was_read_twice_with_different_content_is_neither(tmp_path: Path) -> None:
    reads.watch()
    path = tmp_path / "edited.txt"
    path.write_text("a", "utf-8")
    reader = reads.Reader()
    reads.call(reader, path.read_text)
    first = reader.files()
    os.utime(path)
    reads.call(reader, path.read_text)
    path.write_text("b", "utf-8")
    reads.call(reader, path.read_text)
    path.write_text("a", "utf-8")
    assert reads.changed(first) == []
    assert reads.changed(reader.files()) == [str(path)]


def test_a_rewrite_of_the_same_length_within_a_moment_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "quick.txt"
    seen = set()
    for text in ("one", "two", "six"):
        path.write_text(text, "utf-8")
        seen.add(reads.digest_of(str(path)))
    assert len(seen) == 3


def test_the_library_and_installed_packages_do_not_count(tmp_path: Path) -> None:
    reads.watch()
    reader = reads.Reader()

    def look() -> None:
        Path(pytest.__file__).read_text("utf-8")
        Path(functools.__file__).read_text("utf-8")

    reads.call(reader, look)
    assert reader.files() == {}


def test_a_source_that_a_traceback_quotes_is_not_taken_for_data(tmp_path: Path) -> None:
    reads.watch()
    reader = reads.Reader()
    linecache.clearcache()
    assert reads.call(reader, lambda: linecache.getline(__file__, 1)).startswith('"""An item')
    assert reader.files() == {}
