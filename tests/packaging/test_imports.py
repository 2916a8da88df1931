"""The command line starts without heavy imports: commands that only list, explain or show do not import torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "numpy", "datasets", "peft", "scipy")


def imported_by(commands: list[list[str]], folder: Path) -> set[str]:
    """The heavy packages that commands in one process have imported by their end."""
    code = (
        "import sys; from harness.cli import main\n"
        f"for words in {commands!r}:\n"
        "    try: main(words)\n"
        "    except SystemExit as left: assert not left.code, left.code\n"
        f"print('imported:', *[name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.strip().splitlines()[-1].split()[1:])


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["--version"],
        ["run", "--help"],
        ["list", "plugins"],
        ["list", "plugins", "--verbose"],
        ["plugins", "new", "my-editor"],
        ["leaderboard", "--help"],
    ],
    ids=" ".join,
)
def test_a_command_that_computes_nothing_imports_nothing_heavy(tmp_path: Path, words: list[str]) -> None:
    assert imported_by([words], tmp_path) == set()


def test_a_leaderboard_needs_numpy_for_its_intervals_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "leaderboards").mkdir()
    assert imported_by([["leaderboard", "show"]], tmp_path) <= {"numpy"}


def test_the_contract_imports_the_standard_library_alone() -> None:
    code = (
        "import sys; before = set(sys.modules); import harness.api\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(*sorted(new - set(sys.stdlib_module_names) - {'harness', 'pluggy'}))"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:  # without site-packages there is no pluggy for harness/__init__.py
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_reading_an_adapter_imports_no_models() -> None:
    """A driver of workers reads and writes adapters; transformers' models would cost it two seconds more."""
    code = (
        "import sys; import harness.books.artefacts, harness.models.load\n"
        "print(*[name for name in ('torch', 'transformers', 'peft') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["torch"]
