"""The command's exit code tells the truth, whatever a plugin does to its process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.plugins.made_up import install

EDITOR = """
import os, sys
from harness import hookimpl
from harness.api import Editor, Example, SelfEdit

class Rude(Editor):
    def propose(self, asks, s, /):
        {what}
        return [[SelfEdit(f"{{a.episode.id}}/0", a.episode.id, (Example("", "x"),))] for a in asks]

@hookimpl
def harness_editors():
    return {{"rude": "rude:Rude"}}
"""


def command(words: list[str], place: Path) -> list[str]:
    start = f"import sys; sys.path.insert(0, {str(place)!r}); sys.argv[1:] = {words!r}"
    return [sys.executable, "-c", f"{start}; from harness.cli import main; main()"]


def rude(folder: Path, what: str, *more: str) -> subprocess.CompletedProcess[str]:
    plugin = folder / "rude.py"
    plugin.write_text(EDITOR.format(what=what), "utf-8")
    words = ["run", "--plugin", str(plugin), "--limit", "1", "--out", str(folder / "runs"), "--set", "leaderboard=''",
             "--set", "beside=[]", "--set", "updater.epochs=1", *more]  # fmt: skip
    return subprocess.run(command(words, folder), cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("sys.exit(0)", "editor 'rude' raised SystemExit: 0"),
        ("os._exit(0)", "the process ended before the command did"),
        ("os.execvp('true', ['true'])", "the process ended before the command did"),
    ],
)
def test_a_plugin_that_ends_the_process_does_not_end_it_well(tmp_path: Path, what: str, said: str) -> None:
    done = rude(tmp_path, what)
    assert done.returncode == 3
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_what_a_plugin_prints_is_not_in_the_json(tmp_path: Path) -> None:
    done = rude(tmp_path, "print('noise'); os.write(1, b'more noise\\n')", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tables"][0]["rows"][0]["method"] == "rude"
    assert "noise" in done.stderr


@pytest.mark.parametrize("call", ["sys.exit(0)", "os._exit(0)"])
def test_an_unrelated_plugin_whose_hook_exits_is_not_silent(tmp_path: Path, call: str) -> None:
    hook = f"import os, sys\nfrom harness import hookimpl\n@hookimpl\ndef harness_editors():\n    {call}\n"
    install(tmp_path, "leaver", hook)
    done = subprocess.run(
        command(["run", "--plugin", "nonesuch"], tmp_path), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode in {2, 3}
    assert done.stderr.startswith("harness: ")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_reach_the_one_that_works(tmp_path: Path, number: signal.Signals) -> None:
    plugin = tmp_path / "rude.py"
    plugin.write_text(
        EDITOR.format(what="open('pid', 'w').write(str(os.getpid())); import time; time.sleep(60)"), "utf-8"
    )
    words = [
        "run",
        "--plugin",
        str(plugin),
        "--limit",
        "1",
        "--out",
        "runs",
        "--set",
        "leaderboard=''",
        "--set",
        "beside=[]",
    ]
    process = subprocess.Popen(
        command(words, tmp_path),
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,  # at a terminal Ctrl-C reaches both by itself
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore Ctrl-C
    )
    pid = tmp_path / "pid"
    deadline = time.monotonic() + 60
    while not (pid.exists() and pid.read_text()):
        assert time.monotonic() < deadline, "the editor was never called"
        time.sleep(0.1)
    worker = int(pid.read_text())
    assert worker != process.pid
    process.send_signal(number)
    assert process.wait(30) == 128 + number
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)
