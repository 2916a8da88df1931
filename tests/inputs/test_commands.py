"""Bad input to commands: one line that names it, before anything is spent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.cli import main


def says(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    return int(left.value.code or 0), capsys.readouterr().err


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("hello")
    return path


def test_a_page_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``show`` draws an embedded puzzle, so that there is something to write."""
    for where, said in ((tmp_path, "Is a directory"), (tmp_path / "no" / "page.html", "No such file or directory")):
        code, err = says(capsys, "show", "test-1-000-two-paints", "--html", where)
        assert (code, err) == (2, f"harness: {where}: {said}\n")
    assert not list(tmp_path.iterdir()), "nothing half-written is left"


@pytest.mark.parametrize(
    "words", [("lab", "train"), ("lab", "data"), ("lab-maths", "train"), ("adapter", "train", "--out")]
)
def test_a_file_where_a_folder_belongs_is_said_before_any_training(
    words: tuple[str, ...], file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, err = says(capsys, *words, file)
    assert code == 2
    assert err.startswith(f"harness: {file}: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("resume", "run", "--max-cost", "inf"), "--max-cost inf is no number of US dollars"),
        (("run", "--dry-run", "--edits", "nowhere"), "--edits nowhere: there is no such run."),
        (("run", "--dry-run", "--reuse", "nowhere"), "--reuse nowhere: there is no run in that folder."),
        (("run", "--dry-run", "--judge", "f1", "--max-judge-calls", "-1"), "a judge's limits are 0 (none) or more"),
        (("judge", "calibrate", "x.json", "--max-cost", "nan"), "a judge's limits are 0 (none) or more"),
    ],
)
def test_what_no_run_could_use_is_refused(
    words: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    code, err = says(capsys, *words)
    assert code == 2
    assert said in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_dry_run_refuses_a_folder_in_which_no_run_can_be_made(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, err = says(capsys, "run", "--dry-run", "--out", file / "runs")
    assert (code, err.count("\n")) == (2, 1)
    assert f"no run can be written under {file}{os.sep}runs: Not a directory" in err
