"""Stored data that were damaged are named, never used, and computed again on request."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.books.store import WeightStore
from harness.books.verify import verify
from harness.cli import main
from harness.errors import Damaged, RunError, UsageError
from harness.evidence.result_file import ResultError, parse
from harness.runs.export import export_policy
from harness.runs.status import status
from tests.runner.test_runner import PLUGIN, config, run


def change(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / "journal.sqlite")) as database:
        assert database.execute(statement).rowcount > 0
        database.commit()


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def weights(done: harness.Run) -> Path:
    """A LoRA adapter among the run's weights."""
    return sorted((done.folder / "weights").glob("*/adapter_model.safetensors"))[0].parent


def forget(folder: Path, kind: str) -> None:
    change(folder, f"DELETE FROM items WHERE kind = '{kind}'")


def rows(done: harness.Run) -> Any:
    return [(row.method, row.scores, row.curve) for row in done.result.rows]


CHANGES = [
    "result = replace(result, '0.0', '1.0')",
    "status = 'failed'",
    "cost = '{\"seconds\":0.0}'",
    "weights = 'abcdef0123456789'",
    "kind = 'other'",
    "component = 'another'",
    "result = CAST(x'80ff' AS TEXT)",
    "result = 7",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> harness.Run:
    return run(tmp_path_factory.mktemp("finished"), limit=3)


@pytest.fixture
def copy(finished: harness.Run, tmp_path: Path) -> harness.Run:
    """A run that a test may damage."""
    folder = tmp_path / "runs" / finished.folder.name
    shutil.copytree(finished.folder, folder)
    return harness.Run(folder, finished.result)


@pytest.mark.parametrize("what", CHANGES)
def test_a_changed_item_is_named_and_made_again(copy: harness.Run, what: str) -> None:
    digest = _one(copy.folder, "scores")
    change(copy.folder, f"UPDATE items SET {what} WHERE digest = '{digest}'")
    with pytest.raises(Damaged) as caught:
        harness.resume(copy.folder)
    said = str(caught.value)
    assert str(copy.folder / "journal.sqlite") in said
    assert digest[:12] in said
    assert f"harness resume {copy.folder} --recompute" in said
    assert "\n" not in said
    again = harness.resume(copy.folder, recompute=True)
    assert (rows(again), again.ran) == (rows(copy), 1)
    assert not verify(copy.folder).damaged


def _one(folder: Path, kind: str) -> str:
    with closing(sqlite3.connect(folder / "journal.sqlite")) as database:
        [[digest]] = database.execute("SELECT digest FROM items WHERE kind = ? ORDER BY digest LIMIT 1", (kind,))
    return str(digest)


def test_a_changed_item_of_another_run_is_not_taken_over(copy: harness.Run, tmp_path: Path) -> None:
    change(copy.folder, "UPDATE items SET result = replace(result, '0.0', '1.0') WHERE kind = 'scores'")
    change(copy.folder, "UPDATE items SET status = 'failed' WHERE kind = 'trial'")
    again = run(tmp_path, limit=3, reuse=str(copy.folder))
    assert rows(again) == rows(copy)
    assert set(again.ran_of) == {"evaluations by 'match'", "trials by 'fit'"}
    assert again.taken[copy.folder.name] > 0


def test_changed_weights_are_not_used(copy: harness.Run, tmp_path: Path) -> None:
    bad = weights(copy)
    flip(next(bad.glob("*.safetensors")))
    with pytest.raises(Damaged, match=bad.name):
        WeightStore(copy.folder / "weights").adapter(bad.name)
    again = run(tmp_path, limit=3, reuse=str(copy.folder))
    assert rows(again) == rows(copy)
    assert again.ran_of["updates by 'fit'"] == 1, "those of the other run are made here"
    mended = harness.resume(copy.folder, recompute=True)
    assert (rows(mended), set(mended.ran_of)) == (rows(copy), {"updates by 'fit'"})
    assert not verify(copy.folder).damaged


def test_weights_that_are_gone_are_made_again(copy: harness.Run) -> None:
    shutil.rmtree(weights(copy))
    assert harness.resume(copy.folder, recompute=True).ran_of.keys() == {"updates by 'fit'"}
    assert not verify(copy.folder).damaged


def test_weights_that_are_cut_off_are_one_line(copy: harness.Run) -> None:
    bad = weights(copy)
    next(bad.glob("*.safetensors")).write_bytes(b"half")
    with pytest.raises(Damaged, match=bad.name):
        WeightStore(copy.folder / "weights").adapter(bad.name)


def test_a_changed_note_is_not_used(copy: harness.Run) -> None:
    change(copy.folder, "UPDATE kept SET value = replace(value, 'adapters', 'adapter5') WHERE name = 'deployed'")
    with pytest.raises(Damaged, match="deployed"):
        export_policy(copy.folder, copy.folder / "policy")
    change(copy.folder, "UPDATE meta SET value = replace(value, 'Linux', 'Minix') WHERE key = 'environment'")
    with pytest.raises(Damaged, match="environment"):
        harness.resume(copy.folder)


def test_a_journal_that_is_none_is_one_line(copy: harness.Run) -> None:
    path = copy.folder / "journal.sqlite"
    data = bytearray(path.read_bytes())
    data[4096:40960] = b"\xff" * (40960 - 4096)
    path.write_bytes(data)
    with pytest.raises(RunError, match=r"journal\.sqlite .*is damaged|journal\.sqlite") as caught:
        harness.resume(copy.folder)
    assert "\n" not in str(caught.value)
    path.write_text("no database at all")
    with pytest.raises(RunError, match="is damaged, or not a journal"):
        harness.resume(copy.folder)
    assert verify(copy.folder).damaged


@pytest.mark.parametrize(("version", "said"), [(99, "upgrade selfadapt-harness"), (1, "an older harness wrote")])
def test_journals_of_other_formats_are_refused(copy: harness.Run, tmp_path: Path, version: int, said: str) -> None:
    with closing(sqlite3.connect(copy.folder / "journal.sqlite")) as database:
        database.execute(f"PRAGMA user_version={version}")
    for act in (
        lambda: harness.resume(copy.folder),
        lambda: run(tmp_path, reuse=str(copy.folder)),
        lambda: verify(copy.folder),
    ):
        with pytest.raises(UsageError, match=said):
            act()


def test_a_newer_result_file_is_refused(finished: harness.Run) -> None:
    raw = json.loads((finished.folder / "result.json").read_text("utf-8"))
    newer = json.dumps({**raw, "schema": 99, "something": "new"})
    with pytest.raises(ResultError, match=r"schema 99, .*upgrade selfadapt-harness"):
        parse(newer, "x.json")


DAMAGES: dict[str, Callable[[harness.Run], object]] = {
    "journal.sqlite": lambda done: change(done.folder, "UPDATE items SET cost = '{}' WHERE kind = 'edits'"),
    "weights/": lambda done: flip(next(weights(done).glob("*.safetensors"))),
    "weights": lambda done: shutil.rmtree(weights(done)),
    "edits/animals-0.jsonl": lambda done: flip(done.folder / "edits" / "animals-0.jsonl"),
    "scores/bare-0.jsonl": lambda done: (done.folder / "scores" / "bare-0.jsonl").unlink(),
    "result.json": lambda done: flip(done.folder / "result.json"),
    "config.json": lambda done: flip(done.folder / "config.json"),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_verify_finds_it(copy: harness.Run, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _verify(copy.folder) == 0
    DAMAGES[what](copy)
    capsys.readouterr()
    assert _verify(copy.folder, "--json") == 4
    found = json.loads(capsys.readouterr().out)
    assert found["sound"] is False
    assert {damage["path"].startswith(what) for damage in found["damaged"]} == {True}
    assert _verify(copy.folder) == 4
    cannot_go_on = what == "config.json"  # its last byte ends the JSON
    remedy = f"--reuse {copy.folder}" if cannot_go_on else f"resume {copy.folder} --recompute"
    assert remedy in capsys.readouterr().out


def test_verify_counts_what_it_looked_at(copy: harness.Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert _verify(copy.folder, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["checked"]["weights"] == len(list((copy.folder / "weights").iterdir()))
    assert found["checked"]["files"] == 8, (
        "configuration, result, items, one file of edits, and two each of scores and of histories"
    )
    assert found["checked"]["items"] > 20
    assert _verify(copy.folder / "nowhere") == 2


def _verify(*arguments: object) -> int:
    with pytest.raises(SystemExit) as done:
        main(["verify", *map(str, arguments)])
    return int(done.value.code or 0)


def test_an_altered_configuration_is_not_resumed(copy: harness.Run) -> None:
    path = copy.folder / "config.json"
    path.write_text(path.read_text("utf-8").replace('"layers"', '"layers" '), "utf-8")
    with pytest.raises(Damaged, match=r"config\.json"):
        harness.resume(copy.folder)
    assert rows(harness.resume(copy.folder, recompute=True, trust=True)) == rows(copy)
    assert rows(harness.resume(copy.folder)) == rows(copy), "it was written anew"


def test_a_lost_journal_is_not_begun_again_silently(copy: harness.Run, capsys: pytest.CaptureFixture[str]) -> None:
    """It would run, and pay for, everything a second time."""
    for lose in (Path.unlink, lambda path: path.write_bytes(b"")):
        lose(copy.folder / "journal.sqlite")
        assert _verify(copy.folder) == 4
        assert "--recompute` computes again" in capsys.readouterr().out
        with pytest.raises(Damaged, match=r"journal\.sqlite"):
            harness.resume(copy.folder)
        assert _verify(copy.folder) == 4, "the refused one has left a journal that holds nothing"
        assert "its journal is lost" in status(copy.folder).now
    again = harness.resume(copy.folder, recompute=True)
    assert rows(again) == rows(copy)
    assert _verify(copy.folder) == 0


def test_a_run_that_was_killed_before_its_first_note_goes_on(copy: harness.Run) -> None:
    for path in copy.folder.iterdir():
        if path.name != "config.json":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for _ in range(2):
        assert rows(harness.resume(copy.folder)) == rows(copy)
        assert _verify(copy.folder) == 0


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("config.json", "run its command again with --reuse"), ("journal.sqlite", "or run its command again\n")],
)
def test_verify_does_not_advise_what_cannot_be_done(
    copy: harness.Run, name: str, remedy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = copy.folder / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 - 7])
    assert _verify(copy.folder) == 4
    assert remedy in capsys.readouterr().out


def test_what_a_kill_left_is_swept(copy: harness.Run) -> None:
    left = [
        copy.folder / "weights" / ".ab12.77.partial",
        copy.folder / ".result.json.x1",
        copy.folder / "scores/.a.jsonl.y",
    ]
    left[0].mkdir()
    for path in (left[0] / "half", *left[1:]):
        path.write_text("half")
    harness.resume(copy.folder)
    assert not [path for path in left if path.exists()]


@pytest.mark.parametrize("name", ["lock", "journal.sqlite", "config.json", "weights", "edits/animals-0.jsonl"])
def test_links_are_not_followed(copy: harness.Run, tmp_path: Path, name: str) -> None:
    mine = tmp_path / "mine"
    place = copy.folder / name
    if place.is_dir():
        shutil.copytree(place, mine)
        shutil.rmtree(place)
    else:
        mine.write_bytes(place.read_bytes() or b"precious")
        place.unlink()
    before = mine.read_bytes() if mine.is_file() else sorted(mine.rglob("*"))
    place.symlink_to(mine)
    with pytest.raises(UsageError, match="is a symbolic link"):
        harness.resume(copy.folder)
    with pytest.raises(UsageError, match="is a symbolic link"):
        run(tmp_path / "other", reuse=str(copy.folder))
    assert (mine.read_bytes() if mine.is_file() else sorted(mine.rglob("*"))) == before
    assert verify(copy.folder).damaged[0].what == "is a symbolic link"


def test_a_run_is_one_row_whatever_its_folder_is_called(tmp_path: Path) -> None:
    done = run(tmp_path, limit=2)
    renamed, copied = tmp_path / "renamed", tmp_path / "copied"
    shutil.copytree(done.folder, copied)
    done.folder.rename(renamed)
    for folder in (renamed, copied):
        assert harness.resume(folder).result.run == done.result.run
    [board] = (tmp_path / "leaderboards").iterdir()
    assert [path.name for path in board.iterdir()] == [f"{done.result.run}.json"]


def test_two_runs_of_one_second_are_two_rows(tmp_path: Path) -> None:
    for out in ("a", "b", "c"):
        harness.run({**config(tmp_path, limit=1), "out": str(tmp_path / out)}, plugin_files=[PLUGIN])
    [board] = (tmp_path / "leaderboards").iterdir()
    assert len(list(board.iterdir())) == 3
