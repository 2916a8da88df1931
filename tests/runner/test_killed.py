"""A process that is killed between or within two writes: what goes on from there has the same result, nothing twice."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.books.journal import Journal
from tests.ace import test_stories as ace
from tests.label_free import test_loops as label_free
from tests.runner.test_sequence import run
from tests.self_judging import test_loops as self_judging
from tests.self_study import test_loops as self_study

_writing = Journal.writing


@contextmanager
def counted(at: int = 0, *, within: bool = False) -> Iterator[list[int]]:
    """Counts a journal's writes; at that one, or within it, the process is killed (0: never)."""
    count = [0]

    @contextmanager
    def writing(self: Journal) -> Iterator[None]:
        count[0] += 1
        with _writing(self):
            yield
            if within and count[0] == at:
                os.kill(os.getpid(), signal.SIGKILL)
        if count[0] == at:
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "writing", writing)
        yield count


def killed(act: Callable[[], object], at: int, *, within: bool) -> None:
    """Do it in a child that is killed."""
    child = os.fork()
    if child == 0:
        try:
            with counted(at, within=within):
                act()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL


def booked(folder: Path) -> set[str]:
    """Digests of what was paid for."""
    with closing(sqlite3.connect(folder / "journal.sqlite")) as database:
        return {key for (key,) in database.execute("SELECT digest FROM items WHERE component != 'session'")}


def _closed(rounds: Any, s: Any) -> tuple[Any, Any]:
    s.journal.close()
    return rounds, s


LOOPS: dict[str, Callable[[Path], tuple[Any, Any]]] = {
    "r-zero": lambda folder: label_free.ran(folder, "r-zero")[::3],  # type: ignore[dict-item,return-value]
    "proposing": lambda folder: self_judging.ran(folder, "proposing")[::3],  # type: ignore[dict-item,return-value]
    "alas": lambda folder: _closed(*self_study.ran(folder, "alas")[::4]),
    "ace": lambda folder: _closed(*ace.learnt(folder)[:2]),
}
"""Loops with made episodes, or a memory, that is in no weights: their rounds, and the session, which is closed."""


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_goes_on_where_it_was_killed(tmp_path: Path, name: str) -> None:
    with counted() as count:
        whole, _ = LOOPS[name](tmp_path / "whole")
    everything = booked(tmp_path / "whole")
    for place, part in enumerate((0.2, 0.5, 0.8)):
        folder = tmp_path / str(place)
        killed(lambda: LOOPS[name](folder), int(part * count[0]), within=place == 1)  # noqa: B023
        before = booked(folder)
        rounds, s = LOOPS[name](folder)
        again = booked(folder)
        assert rounds == whole
        assert again == everything
        assert s.journal.ran == len(again - before), "what was booked is not made again"
        assert place == 0 or before, "something was"


@pytest.mark.parametrize("more", [{}, {"writer": "current"}, {"start_as": "apart", "serve": "words"}])
def test_a_sequence_goes_on_where_it_was_killed(tmp_path: Path, more: dict[str, Any]) -> None:
    """With the neutral texts that drift is measured on, and another task beside."""
    settings: dict[str, Any] = {
        "protocol": {"length": 3, "neutral": 2, **more},
        "limit": 6,
        "also": {"zoo": {"task": "zoo"}},
    }
    with counted() as count:
        whole = run(tmp_path / "whole", **settings)
    for place, part in enumerate((0.3, 0.6, 0.95)):
        killed(lambda: run(tmp_path / str(place), **settings), int(part * count[0]), within=place == 1)  # noqa: B023
        [folder] = (tmp_path / str(place) / "runs").iterdir()
        before = booked(folder)
        done = harness.resume(folder)
        assert [(t.name, t.task, [row.scores for row in t.rows]) for t in done.result.tables] == [
            (t.name, t.task, [row.scores for row in t.rows]) for t in whole.result.tables
        ]
        assert booked(folder) == booked(whole.folder)
        assert done.ran == len(booked(folder) - before)
