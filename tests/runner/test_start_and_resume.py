"""Starting and resuming: a refused start leaves nothing, one environment per run, trust, and the line after Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.books.environment import describe_environment
from harness.errors import HarnessError, UsageError
from harness.runs.export import export_policy
from tests.runner.test_runner import PLUGIN, ROOT, config, run


def rows(done: harness.Run) -> Any:
    return [(row.method, row.scores, row.curve) for row in done.result.rows]


# --- one world ---

WORLDS = [
    ({"versions": {"torch": "1.0.0"}}, "torch"),
    ({"versions": {"selfadapt-harness": "0.0.1"}}, "selfadapt-harness"),
    ({"processor": "GenuineIntel AVX2"}, "processor"),
    ({"accelerator": "NVIDIA H100"}, "accelerator"),
]


def begun_in(folder: Path, world: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> harness.Run:
    here = describe_environment()
    there = {**here, **world, "versions": {**here["versions"], **world.get("versions", {})}}
    with monkeypatch.context() as patch:
        patch.setattr("harness.runs.runner.describe_environment", lambda: there)
        return run(folder, limit=3)


@pytest.mark.parametrize(("world", "name"), WORLDS)
def test_a_run_of_another_world_is_refused(
    tmp_path: Path, world: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = begun_in(tmp_path, world, monkeypatch)
    with pytest.raises(UsageError, match=f"was begun with {name} .*, now .*--recompute") as caught:
        harness.resume(begun.folder)
    assert "\n" not in str(caught.value)


def test_or_recomputed_and_then_its_rows_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = begun_in(tmp_path, *WORLDS[0][:1], monkeypatch)
    again = harness.resume(begun.folder, recompute=True)
    assert again.ran == begun.ran, "nothing of the other world is left"
    assert rows(again) == rows(begun)
    assert all("recomputed: begun with torch 1.0.0, now" in row.notes[0] for row in again.result.rows)
    assert again.result.environment["versions"] == describe_environment()["versions"]
    later = harness.resume(begun.folder)
    assert later.ran == 0, "and it is of this world from then on"
    assert [row.notes for row in later.result.rows] == [row.notes for row in again.result.rows]


def test_another_number_of_cores_is_the_same_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = begun_in(tmp_path, {"cpus": 999, "commit": "0123456789ab"}, monkeypatch)
    assert harness.resume(begun.folder).ran == 0


# --- a refused start ---


@pytest.mark.parametrize(
    "more",
    [
        {"task": {"use": "squad", "data": "nowhere.json"}, "model": "animals"},
        {"task": {"use": "arc"}},
        {"edits": "nowhere"},
        {"reuse": "nowhere"},
        {"observers": ["nobody"]},
        {"roles": {"teacher": {"use": "hf", "path": "./nowhere"}}},
        {"evaluator": "closed-book", "judge": "nobody"},
        {"updater": {"use": "lora", "rank": -1}},
    ],
)
def test_a_refused_start_leaves_no_folder(tmp_path: Path, more: dict[str, Any]) -> None:
    with pytest.raises(HarnessError):
        run(tmp_path, **more)
    assert not list((tmp_path / "runs").glob("*"))


def test_what_fails_later_can_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="max-hours"):
        run(tmp_path, max_hours=1e-9)
    [folder] = (tmp_path / "runs").iterdir()
    assert (folder / "config.json").is_file()


# --- whose code is run ---


def foreign(done: harness.Run) -> Path:
    """The run as somebody else might hand it over: signed with another key."""
    path = done.folder / "config.json"
    record = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**record, "signature": "0" * 64}), "utf-8")
    return done.folder


def test_plugin_files_of_a_run_from_elsewhere_are_not_run_unasked(tmp_path: Path) -> None:
    folder = foreign(run(tmp_path, limit=2))
    for act in (lambda: harness.resume(folder), lambda: export_policy(folder, tmp_path / "policy")):
        with pytest.raises(UsageError, match=r"made elsewhere, and its config\.json names the plugin file .*--trust"):
            act()
    assert harness.resume(folder, recompute=True, trust=True).complete
    assert harness.resume(folder).ran == 0, "it was signed anew by who trusted it"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model": {"use": "hf", "path": "x", "trust_remote_code": True}}, "trust_remote_code"),
        ({"roles": {"teacher": {"use": "openai", "path": "x", "base_url": "https://evil.example"}}}, "evil.example"),
    ],
)
def test_neither_is_a_models_code_nor_a_key_sent_away(tmp_path: Path, given: dict[str, Any], said: str) -> None:
    done = run(tmp_path, limit=2)
    path = done.folder / "config.json"
    record = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**record, "plugin_files": [], "given": given}), "utf-8")
    with pytest.raises(UsageError, match=said):
        harness.resume(done.folder)


def test_without_a_place_for_a_key_every_such_run_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    done = run(tmp_path, limit=2)
    with pytest.raises(UsageError, match="--trust"):
        harness.resume(done.folder)
    assert harness.resume(done.folder, trust=True).ran == 0


# --- Ctrl-C ---


def interrupted(folder: Path, at: int) -> subprocess.CompletedProcess[str]:
    toml = folder / "run.toml"
    toml.write_text("\n".join(f"{k} = {json.dumps(v)}" for k, v in config(folder).items() if k != "method"))
    return subprocess.run(
        [sys.executable, "-m", "harness", "run", "--config", str(toml), "--plugin", str(PLUGIN)], cwd=ROOT,
        env={**os.environ, "KILL_AT": str(at), "KILL_WITH": "SIGINT"},
        capture_output=True, text=True, timeout=240, check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore Ctrl-C
    )  # fmt: skip


def test_an_interrupt_names_the_runs_folder(tmp_path: Path) -> None:
    done = interrupted(tmp_path, 20)
    assert done.returncode == 130, done.stderr
    [folder] = (tmp_path / "runs").iterdir()
    assert f"`harness resume {folder}` goes on" in done.stderr
    assert "RUN" not in done.stderr
    assert harness.resume(folder).complete


def test_an_interrupt_before_anything_is_booked_leaves_nothing(tmp_path: Path) -> None:
    done = interrupted(tmp_path, 1)
    assert done.returncode == 130, done.stderr
    assert "nothing was booked yet" in done.stderr
    assert not list((tmp_path / "runs").iterdir())
