"""``harness plugins check``: what failed and where, on the task that the component is made for."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cli import main
from harness.testing.check import check

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
BAD = """
from harness import hookimpl
from harness.api import Editor, Example, SelfEdit

@hookimpl
def harness_editors():
    return {"bad-editor": "bad_editor_file:Bad"}

class Bad(Editor):
    def propose(self, asks, s):
        return [[self._edit(ask)] for ask in asks]

    def _edit(self, ask):
        text = s_undefined
"""
JUDGED = """
from harness import hookimpl
from harness.api import Method, Request, Reward, RewardFunction

@hookimpl
def harness_rewards():
    return {"judged": "judged_file:Judged"}

@hookimpl
def harness_methods():
    return {"judged": Method("judged", "", "", {
        "editor": {"use": "passage"}, "updater": {"use": "lora"}, "evaluator": {"use": "closed-book"},
        "trainer": {"use": "restem"}, "reward": {"use": "judged"}, "policy": {"kind": "updater", "use": "lora"},
    }, roles={"teacher": "model", "student": "@teacher", "judge": "model"},
       presets={"lab": {"task": {"use": "lab-grids", "test": 4, "train": 4, "validation": 4}}})}

class Judged(RewardFunction):
    def score(self, groups, s):
        assert s.task.name == "lab-grids"
        for group in groups:
            if group.edits:
                s.lm("judge").generate([Request(s.roles["judge"], "Is it good?")])
        return [[Reward(0.5) for _ in group.edits] for group in groups]
"""


def test_a_good_plugin_passes_and_exits_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["plugins", "check", str(EXAMPLES / "passage_twice.py"), "--no-run", "--verbose"])
    out = capsys.readouterr().out
    assert left.value.code in (None, 0)
    assert "passed   editor 'passage-twice': one seed gives the same edits" in out
    assert " 0 failed" in out


def test_a_bad_one_is_told_with_its_line_and_exits_with_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bad_editor_file.py"
    file.write_text(BAD, "utf-8")
    with pytest.raises(SystemExit) as left:
        main(["plugins", "check", str(file), "--no-run"])
    out = capsys.readouterr().out
    assert left.value.code == 3
    assert "failed   editor 'bad-editor': edits survive the journal" in out
    assert "NameError: name 's_undefined' is not defined" in out
    assert f"at {file}:14" in out


def test_a_component_that_needs_settings_is_skipped_with_its_own_words() -> None:
    [outcome] = [o for o in check("replay", run=False) if o.subject == "editor 'recorded'"]
    assert outcome.status == "skipped"
    assert "needs a file of edits" in outcome.said


def test_components_meet_the_task_and_the_roles_of_their_method(tmp_path: Path) -> None:
    file = tmp_path / "judged_file.py"
    file.write_text(JUDGED, "utf-8")
    outcomes = list(check(str(file), run=False))
    failed = {outcome.check: outcome.said for outcome in outcomes if outcome.status == "failed"}
    assert set(failed) <= {"a lost trial is an error"}, failed
    assert len(outcomes) > 8
