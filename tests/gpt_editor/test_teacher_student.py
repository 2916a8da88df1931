"""Different models as teacher and student: the teacher is trained on what its edits did for the student."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from harness_seal.editors import Prompted, PromptedSettings
from harness_seal.restem import RestEM, RestEMSettings
from harness_seal.trial import Trial, TrialSettings

from harness.api import Example, Request, State
from harness.errors import UsageError
from harness.evaluators.closed_book import ClosedBook, ClosedBookSettings
from harness.registry.discover import Plugins
from harness.runs.config import resolve
from harness.runs.dry_run import make_plan
from harness.session.service import SessionService
from harness.testing import ScriptedLM, ScriptedTask, open_session
from tests.seal.notebook import Habit, Notebook

SOUNDS = {"cats": "purr", "dogs": "bark", "owls": "hoot"}
TASK = ScriptedTask(
    {"train": {name: (f"{name} make a sound.", {f"what do {name} do?": [sound]}) for name, sound in SOUNDS.items()}}
)


def teacher(request: Request, index: int) -> str:
    """Only the second of its edits states what is asked for."""
    name = next(name for name in SOUNDS if f"{name} make a sound" in str(request.prompt))
    return f"{name} {SOUNDS[name]}" if index == 1 else f"{name} are nice ({index})"


def student(request: Request, index: int) -> str:
    """Knows nothing but what it has learnt."""
    prompt = str(request.prompt)
    return next((sound for name, sound in SOUNDS.items() if f"{name} {sound}" in prompt), "no idea")


def session(folder: Path) -> tuple[SessionService, Notebook, Habit]:
    inner, outer = Notebook(), Habit()
    slots: dict[str, tuple[str, Any]] = {
        "editor": ("editor", Prompted(PromptedSettings())),
        "updater": ("updater", inner),
        "policy": ("updater", outer),
        "reward": ("reward", Trial(TrialSettings(inner_seeds=1))),
        "evaluator": ("evaluator", ClosedBook(ClosedBookSettings())),
    }
    models = {"teacher": ScriptedLM(teacher, name="large"), "student": ScriptedLM(student, name="small")}
    return open_session(folder, TASK, models, slots), inner, outer


def test_the_teacher_learns_what_helped_the_student(tmp_path: Path) -> None:
    s, inner, outer = session(tmp_path)
    before = dict(s.roles)
    [done] = RestEM(RestEMSettings(rounds=1, contexts=3, samples=3)).run(s)
    assert {job.start.base for job in inner.jobs} == {"scripted:small"}
    [policy] = outer.jobs
    assert policy.start == before["teacher"] == State("scripted:large")
    learnt = [item.target for edit in policy.edits for item in edit.data if isinstance(item, Example)]
    assert learnt == [f"{name} {sound}" for name, sound in SOUNDS.items()]
    assert done.roles["student"] == before["student"]
    assert done.roles["teacher"] != before["teacher"]
    assert done.metrics["reward_best"] == 1.0


def test_roles_are_models_of_their_own_in_any_method(tmp_path: Path) -> None:
    given = {"method": "seal", "model": "lab", "beside": ["gpt-editor", "none"]}
    config = resolve({**given, "roles": {"teacher": "openai:gpt-4.1", "student": "model"}}, Plugins())
    seal, gpt, _ = config.arms
    assert (seal.roles["teacher"], seal.roles["student"]) == ({"use": "openai", "path": "gpt-4.1"}, {"use": "lab"})
    assert gpt.roles["teacher"]["use"] == "loopback"  # its own preset for the lab
    with pytest.raises(UsageError, match="no such role"):
        resolve({**given, "roles": {"techer": "lab"}}, Plugins())


def test_a_limit_on_money_reaches_every_remote_model() -> None:
    config = resolve(
        {"method": "gpt-editor", "model": "lab", "max_cost": 5.0, "preset": "paper-qwen2.5-7b-n1"}, Plugins()
    )
    assert config.arms[0].roles["teacher"]["max_cost"] == 5.0
    assert "max_cost" not in config.arms[0].roles["student"]


def test_every_method_of_a_preset_in_one_run_with_its_own_settings() -> None:
    config = resolve({"preset": "quick", "all": True, "model": "lab"}, Plugins())
    by_name = {arm.method.name: arm for arm in config.arms}
    assert config.arms[0].method.name == "seal"
    assert {"none", "passage", "icl", "rag", "proxy-reward", "gpt-editor", "entigraph"} <= set(by_name)
    assert "seal-arc" not in by_name
    assert by_name["proxy-reward"].slots["reward"]["use"] == "rubric-offline"
    assert by_name["other-edits"].slots["editor"]["like"] == {
        name: value for name, value in by_name["seal"].slots["editor"].items() if name != "kind"
    }
    updaters = [arm.slots["updater"] for arm in config.arms if arm.slots.get("updater", {}).get("use") == "lora"]
    assert len(updaters) > 6
    assert all(one == updaters[0] for one in updaters)
    with pytest.raises(UsageError, match="name the preset"):
        resolve({"all": True, "method": "none", "model": "lab"}, Plugins())


def test_a_dry_run_of_the_lab_preset_asks_no_endpoint(tmp_path: Path) -> None:
    plan = make_plan({"method": "gpt-editor", "out": str(tmp_path), "leaderboard": ""}, [], [])
    assert plan.work["gpt-editor"].edits > 0
    assert not list(tmp_path.iterdir())
