"""``harness list`` and the completions of shells: one way to ask what there is."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from harness.cli import main
from harness.cli.listing import WHAT
from harness.judges.base import JUDGES
from harness.judges.load import load
from harness.registry.catalogue import first_sentence, settings_in, type_in_words
from harness.registry.discover import Plugins
from harness.registry.plugin import KINDS
from tests.packaging.test_imports import imported_by
from tests.plugins.made_up import install

BIN = Path(sys.executable).parent


def says(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(["list", *words])
    out, err = capsys.readouterr()
    return int(left.value.code or 0), out, err


@pytest.mark.parametrize("kind", KINDS)
def test_every_name_of_every_kind_is_listed_with_a_line(capsys: pytest.CaptureFixture[str], kind: str) -> None:
    code, out, _ = says(capsys, f"{kind}s", "--json")
    rows = json.loads(out)
    assert code == 0
    assert [row["name"] for row in rows] == list(Plugins().names(kind))
    assert all(row["summary"] and "\n" not in row["summary"] for row in rows), "a component without a line"
    code, out, _ = says(capsys, f"{kind}s")
    assert [line.split()[0] for line in out.splitlines()] == [row["name"] for row in rows]


def test_every_preset_and_every_judge_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(says(capsys, "presets", "seal", "--json")[1])
    assert {row["name"] for row in rows} == set(Plugins().method("seal")[0].presets)
    assert rows[0]["tables"] == Plugins().method("seal")[0].presets[rows[0]["name"]]
    assert [row["name"] for row in json.loads(says(capsys, "judges", "--json")[1])] == list(JUDGES)
    for judge in JUDGES:
        if ":" not in judge:
            assert load(judge).name


def test_settings_of_one_name_are_those_of_all_kinds_that_have_it(capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(says(capsys, "settings", "lora", "--json")[1])
    [rank] = [row for row in rows if row["name"] == "rank"]
    assert (rank["component"], rank["type"], rank["default"]) == ("updater lora", "int", 32)
    both = json.loads(says(capsys, "settings", "passage-repeat", "--json")[1])
    assert [(row["component"], row["name"], row["type"]) for row in both] == [
        ("editor passage-repeat", "like", "editor")
    ]
    assert "max_hours" in says(capsys, "settings", "run")[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("methds",), "Did you mean 'methods'"),
        (("methods", "seel"), "Did you mean 'seal'"),
        (("settings", "lorra"), "Did you mean 'lora'"),
        (("settings",), "harness list settings lora"),
        (("presets", "seel"), "no method with presets is called 'seel'"),
    ],
)
def test_a_wrong_name_is_one_line_with_the_nearest(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    code, out, err = says(capsys, *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err


def test_listing_imports_nothing_heavy(tmp_path: Path) -> None:
    every = [["list", what] for what in WHAT if what != "settings"]
    assert imported_by(every, tmp_path) == set()


def test_a_broken_plugin_does_not_hide_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    install(tmp_path, "ruin", "def (:\n")
    install(tmp_path, "lone", "from harness import hookimpl\n@hookimpl\ndef harness_editors():\n"
            "    return {'gone': 'nowhere.at.all:Gone', 'here': 'lone_plugin:Here'}\n"
            "class Here:\n    '''Says\n    what it is. And more.'''\n")  # fmt: skip
    assert [line for line in says(capsys, "plugins")[1].splitlines() if line.startswith("ruin")]
    rows = {row["name"]: row["summary"] for row in json.loads(says(capsys, "editors", "--json")[1])}
    assert rows["gone"] == ""
    assert rows["here"] == "Says what it is"
    assert rows["implications"]


def test_types_and_meanings_are_in_words() -> None:
    @dataclasses.dataclass(frozen=True)
    class Below:
        one: int = 1
        """How many."""

    @dataclasses.dataclass(frozen=True)
    class Above(Below):
        one: int = 2

    hints = {
        Annotated[int, Field(ge=1)]: "int, at least 1",
        Annotated[float, Field(ge=0, lt=1)]: "float, at least 0 and less than 1",
        Literal["a", "b"]: '"a" | "b"',
        tuple[str, ...]: "list of str",
        str | None: "str | not set",
        dict[str, Any]: "table",
    }
    assert {hint: type_in_words(hint) for hint in hints} == hints
    assert [(one.default, one.meaning) for one in settings_in(Above)] == [(2, "How many.")]
    assert first_sentence("Takes :class:`harness.api.Task` and ``x``.\nThen more. Even more.") == "Takes `Task` and `x`"


# --- completions -----------------------------------------------------------------------------------------------------


LINES = {
    "harness resu": ["resume"],
    "harness run --plugin gpt": ["gpt-editor"],
    "harness run --task lab-": [
        "lab-claims", "lab-documents", "lab-facts", "lab-grids", "lab-known", "lab-maths", "lab-pool",
    ],
    "harness run --plugin seal --preset pa":
        ["paper-qwen2.5-7b-n1", "paper-v1-cpt200", "paper-v2-cpt200", "paper-v2-cpt2067"],
    "harness run --judge off": ["offline-2", "offline-1"],
    "harness list upd": ["updaters"],
    "harness list settings lora": ["lora", "lora-reference"],
    "harness plugins check prox": ["proxy-reward"],
    "harness run --plugin nonsense --preset ": [],
    "harness nonsense --plugin ": [],
}  # fmt: skip
ASK = """
import contextlib, io, json, os, sys
from harness.cli import main
answers = []
for environment in json.loads(sys.stdin.read()):
    os.environ.update(environment)
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        main()
    answers.append(said.getvalue())
assert not {"torch", "transformers", "numpy"} & set(sys.modules), "heavy"
print(json.dumps(answers))
"""


def offers(lines: Iterable[str], shell: str) -> list[str]:
    """What a shell is answered about lines whose last word is to be completed, asked as its script asks."""
    asked = [
        {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))} if shell == "bash"
        else {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
        for line in lines
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", ASK], env={**os.environ, "_HARNESS_COMPLETE": f"complete_{shell}"},
        input=json.dumps(asked), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    answers: list[str] = json.loads(done.stdout)
    return answers


def test_bash_is_offered_names_and_nothing_heavy_is_imported() -> None:
    found = [answer.split() for answer in offers(LINES, "bash")]
    assert dict(zip(LINES, found, strict=True)) == LINES


def test_zsh_and_fish_are_offered_names_with_a_line_about_each() -> None:
    lines = ["harness run --plugin seal-n"]
    assert offers(lines, "fish")[0].startswith("seal-no-rl\t")
    assert '"seal-no-rl":"' in offers(lines, "zsh")[0]


@pytest.mark.skipif(not (BIN / "harness").exists(), reason="the command is not installed beside this interpreter")
def test_bash_completes_with_its_script() -> None:
    """The script is evaluated in a real bash, and its function called as readline calls it."""
    ask = (
        'eval "$(harness --show-completion)"\nCOMP_WORDS=(harness run --plugin gpt)\nCOMP_CWORD=3\n'
        "_harness_completion harness gpt --plugin\nprintf '%s\\n' \"${COMPREPLY[@]}\"\n"
    )
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["bash", "--norc", "-c", ask], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["gpt-editor"], done.stderr
