"""Whole runs on a scripted model: the table, seeds, kill and resume, changed source, bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.books.journal import Journal
from harness.errors import UsageError
from harness.runs.runner import open_run

PLUGIN = Path(__file__).with_name("animals.py")
ROOT = Path(__file__).parents[2]


def config(folder: Path, **more: Any) -> dict[str, Any]:
    return {"method": "animals", "model": "animals", "beside": ["bare"], "out": str(folder / "runs"),
            "leaderboard": str(folder / "leaderboards"), **more}  # fmt: skip


def run(folder: Path, **more: Any) -> harness.Run:
    return harness.run(config(folder, **more), plugin_files=[PLUGIN])


def scores(done: harness.Run) -> dict[str, float]:
    return {row.method: sum(v or 0 for seed in row.scores for v in seed) / row.expected for row in done.result.rows}


def test_the_loop_runs_and_its_rows_are_where_they_belong(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert scores(done) == {"animals": 1.0, "bare": 0.0}
    assert done.complete
    assert [line["validation"] for line in done.result.rows[0].curve] == [0.5, 1.0, 1.0]
    assert [line["chosen"] for line in done.result.rows[0].curve] == [0, 1, 0], "the first of the best rounds"
    assert done.leaderboard
    assert done.leaderboard.parent.name == "animals"
    assert json.loads(done.leaderboard.read_text())["run"] == done.folder.name
    lines = done.scores()
    assert {line["method"] for line in lines} == {"animals", "bare"}
    assert all(line["answer"] for line in lines)
    edits = [json.loads(line) for line in (done.folder / "edits" / "animals-0.jsonl").read_text().splitlines()]
    assert edits[0]["texts"] == [[f"{edits[0]['episode']} is an animal (0)"]]


def test_limit_is_test_contexts_and_nothing_else(tmp_path: Path) -> None:
    whole, part = run(tmp_path), run(tmp_path, limit=3)
    assert part.result.task.items == whole.result.task.items[:3]
    assert part.result.rows[0].curve == whole.result.rows[0].curve
    assert part.result.rows[0].scores[0] == whole.result.rows[0].scores[0][:3]


def test_seeds_are_runs_of_their_own(tmp_path: Path) -> None:
    done = run(tmp_path, seeds=3, limit=2)
    assert [row.seeds for row in done.result.rows] == [(0, 1, 2)] * 2


def test_samples_are_averaged(tmp_path: Path) -> None:
    done = run(tmp_path, samples=2, limit=2)
    assert len([line for line in done.scores() if line["method"] == "animals"]) == 4
    assert all(len(seed) == 2 for row in done.result.rows for seed in row.scores)


def test_continued_pretraining_is_one_update_over_all_edits(tmp_path: Path) -> None:
    done = run(tmp_path, protocol="cpt", limit=4)
    row = next(row for row in done.result.rows if row.method == "animals")
    assert (row.protocol, row.expected) == ("cpt", 4)


def test_edits_of_another_run_are_reused(tmp_path: Path) -> None:
    first = run(tmp_path, limit=4)
    again = run(tmp_path, limit=4, edits=str(first.folder))
    assert again.result.rows[0].scores == first.result.rows[0].scores
    with pytest.raises(UsageError, match="has no edits for 2 of 6 contexts"):
        run(tmp_path, limit=6, edits=str(first.folder))


def kill_then_resume(folder: Path, kill_at: int) -> tuple[bool, harness.Run]:
    """Run in a process that kills itself at its n-th effect, then resume here."""
    code = (
        "import harness, sys, json; from pathlib import Path;"
        "harness.run(json.loads(sys.argv[1]), plugin_files=[Path(sys.argv[2])])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(config(folder)), str(PLUGIN)],
        env={**os.environ, "KILL_AT": str(kill_at)}, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode in (0, -9), done.stderr
    [made] = (folder / "runs").iterdir()
    return done.returncode == -9, harness.resume(made)


@pytest.mark.parametrize("kill_at", [1, 5, 21, 41, 60])
def test_killed_anywhere_and_resumed_equals_uninterrupted(tmp_path: Path, kill_at: int) -> None:
    whole = run(tmp_path / "whole")
    killed, resumed = kill_then_resume(tmp_path / "killed", kill_at)
    assert killed, "the run was over before it could be killed"
    assert resumed.result.rows[0].scores == whole.result.rows[0].scores
    assert resumed.scores() == whole.scores()
    assert [row.curve for row in resumed.result.rows] == [row.curve for row in whole.result.rows]
    assert not list((resumed.folder / "weights").glob(".*partial"))


@pytest.mark.parametrize(("checkpoint", "weights"), [("validation", 3), ("last", 2)])
def test_rounds_that_may_be_chosen_keep_their_weights_and_no_others(
    tmp_path: Path, checkpoint: str, weights: int
) -> None:
    """The loop merges and releases earlier adapters: the first round's stays only if that round is the best."""
    done = run(tmp_path, checkpoint=checkpoint)
    kept = {path.name for path in (done.folder / "weights").iterdir()}
    assert len(kept) == weights
    journal = Journal(done.folder)
    deployed = journal.kept("animals/0", "deployed")["teacher"]["adapters"]
    journal.close()
    assert len(deployed) == (1 if checkpoint == "validation" else 2)
    assert set(deployed) <= kept


def test_resuming_a_finished_run_computes_nothing(tmp_path: Path) -> None:
    first = run(tmp_path)
    again = harness.resume(first.folder)
    assert again.ran == 0
    assert again.scores() == first.scores()
    assert open_run(first.folder).result == again.result


def test_changed_source_is_refused_or_recomputed(tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text(
        "from animals import Writer\nfrom harness import hookimpl\n\n\nclass Mine(Writer):\n    pass\n\n\n"
        "@hookimpl\ndef harness_editors():\n    return {'mine': 'mine:Mine'}\n"
    )
    code = "import harness, sys, json; from pathlib import Path; sys.path.insert(0, sys.argv[2]);"
    start = code + "print(harness.run(json.loads(sys.argv[1]), plugin_files=[Path(p) for p in sys.argv[3:]]).folder)"
    on = code + "r = harness.resume(sys.argv[1], recompute=len(sys.argv) > 3); print(r.reused, r.ran); print(r.ran_of)"

    def python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, *map(str, arguments)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    given = json.dumps(config(tmp_path, editor={"use": "mine"}))
    folder = python(start, given, PLUGIN.parent, PLUGIN, mine).stdout.strip()
    mine.write_text(mine.read_text().replace("    pass", "    changed = True"))
    refused = python(on, folder, PLUGIN.parent)
    assert "editor 'mine'" in refused.stderr
    assert "changed since this run began" in refused.stderr
    redone = python(on, folder, PLUGIN.parent, "recompute")
    reused, ran = map(int, redone.stdout.splitlines()[0].split())
    assert ran < reused, redone.stdout
    assert reused > 0, "what the edits come to is as before, and so is what the bare model answers"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"method": "animls"}, "no method is called 'animls'. Did you mean 'animals'"),
        (
            {"editor": {"temprature": 0.5}},
            "editor.temprature: no such setting of editor 'writer'. Did you mean 'temperature'",
        ),
        ({"editor": {"temperature": "hot"}}, "editor.temperature: Input should be a valid number"),
        ({"task": {"use": "animal"}}, "no task is called 'animal'. Did you mean 'animals'"),
        ({"sedes": 3}, "sedes: no such key of a run's configuration. Did you mean 'seeds'"),
        ({"preset": "papper"}, "method 'animals' has no preset 'papper'"),
        ({"seeds": "three"}, "run.seeds: Input should be a valid integer"),
        ({"model": "./nowhere"}, "nowhere"),
        ({"protocol": {"use": "singel"}}, "no protocol is called 'singel'. Did you mean 'single'"),
        (
            {"variants": {"later": {"method": "animals", "updater": {"use": "lorra"}}}},
            "no updater is called 'lorra'. Did you mean 'lora'",
        ),
    ],
)
def test_bad_input_is_one_line_with_the_nearest_name(tmp_path: Path, more: dict[str, Any], said: str) -> None:
    """Before anything is spent, also where a later row is the one that cannot be made."""
    with pytest.raises(UsageError) as caught:
        run(tmp_path, **more)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "runs").glob("*")), "no folder is left of it"


def test_an_unwritable_folder_is_said_before_anything_is_spent(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file, not a folder")
    with pytest.raises(UsageError, match="choose another folder with --out"):
        run(tmp_path)


def test_a_full_disk_leaves_the_journal_intact(tmp_path: Path) -> None:
    """A limit on file sizes takes the place of a full disk."""
    code = (
        "import harness, sys, json, resource, signal; from pathlib import Path;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000));"
        "from harness.cli import main;"
        "main(['run', '--plugin', sys.argv[2], '--config', sys.argv[1]])"
    )
    toml = tmp_path / "run.toml"
    toml.write_text("\n".join(f"{k} = {json.dumps(v)}" for k, v in config(tmp_path).items() if k != "method"))
    done = subprocess.run(
        [sys.executable, "-c", code, str(toml), str(PLUGIN)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 4, done.stderr
    assert "Traceback" not in done.stderr
    assert "intact" in done.stderr
    [folder] = (tmp_path / "runs").iterdir()
    assert harness.resume(folder).complete
