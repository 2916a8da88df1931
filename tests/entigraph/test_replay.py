"""Replay is added to an update and takes nothing out of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from harness_entigraph.replay import ReplaySettings, WithReplay, cut, draw
from hypothesis import given
from hypothesis import strategies as st

from harness.api import Example, Recipe, SelfEdit, Session, Updated, UpdateJob, Updater
from harness.errors import UsageError
from harness.session.service import SessionService
from harness.testing import ScriptedLM, ScriptedTask, open_session

TASK = ScriptedTask({"train": {"tides": ("The moon pulls.", {})}})


class Seen(Updater):
    """An updater that only records its jobs."""

    accepts = frozenset({Example})

    def __init__(self) -> None:
        self.jobs: list[UpdateJob] = []

    def apply(self, jobs: Sequence[UpdateJob], s: Session, /) -> Iterator[Updated]:
        self.jobs += jobs
        for job in jobs:
            yield Updated(job.id, replace(job.start, memory={"learnt": len(s.expand(job))}), log={"steps": 1})


def session(folder: Path, corpus: str, share: float) -> tuple[SessionService, Seen]:
    (folder / "corpus.txt").write_text(corpus, encoding="utf-8")
    seen = Seen()
    updater = WithReplay(ReplaySettings(corpus=str(folder / "corpus.txt"), share=share), seen)
    return open_session(folder / "run", TASK, {"student": ScriptedLM({})}, {"updater": ("updater", updater)}), seen


def job(s: SessionService, lines: int, seed: int = 0) -> UpdateJob:
    text = "\n".join(f"line {n}" for n in range(lines))
    edit = SelfEdit("tides/0", "tides", (Recipe("lines", {"text": text}),))
    return UpdateJob("j", s.roles["student"], (edit,), seed)


def test_blocks_are_added_and_every_sequence_of_the_edits_stays(tmp_path: Path) -> None:
    s, seen = session(tmp_path, "\n\n".join(f"document {n}" for n in range(40)), share=0.25)
    [updated] = s.update("updater", [job(s, lines=30)])
    targets = [item.target for item in s.expand(seen.jobs[0]) if isinstance(item, Example)]
    assert targets[:30] == [f"line {n}" for n in range(30)]
    assert len(targets) == 40
    assert all(text.startswith("document") for text in targets[30:])
    assert updated.log["replayed"] == 10


def test_the_drawing_depends_on_the_jobs_seed_alone(tmp_path: Path) -> None:
    s, seen = session(tmp_path, "\n\n".join(f"document {n}" for n in range(40)), share=0.5)
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        s.update("updater", [replace(job(s, lines=6 + (name == "b"), seed=seed), id=name)])
    drawn = [one.edits[-1].data[:6] for one in seen.jobs]
    assert drawn[0] == drawn[1] != drawn[2]


def test_no_share_is_no_replay(tmp_path: Path) -> None:
    s, seen = session(tmp_path, "document", share=0.0)
    [updated] = s.update("updater", [job(s, lines=3)])
    assert updated.log["replayed"] == 0
    assert len(seen.jobs[0].edits) == 1


@given(st.lists(st.text(min_size=1), min_size=1, unique=True), st.integers(0, 30), st.integers(0, 5))
def test_no_block_comes_again_before_all_others(blocks: list[str], count: int, seed: int) -> None:
    drawn = draw(blocks, count, seed)
    assert len(drawn) == count
    assert len(set(drawn)) == min(count, len(blocks))


@given(st.text("ab \n", max_size=60), st.integers(1, 10))
def test_cutting_loses_no_word_and_respects_the_limit(text: str, most: int) -> None:
    blocks = cut(text, most)
    assert all(0 < len(block) <= most for block in blocks)
    assert "".join("".join(blocks).split()) == "".join(text.split())


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("none.txt", None, "cannot be read"),
        ("a.jsonl", '{"txt": 1}', "a string `text`"),
        ("a.txt", "\n\n", "holds no text"),
    ],
)
def test_a_corpus_that_cannot_be_used_is_named(tmp_path: Path, name: str, content: str | None, why: str) -> None:
    if content is not None:
        (tmp_path / name).write_text(content, encoding="utf-8")
    updater = WithReplay(ReplaySettings(corpus=str(tmp_path / name), share=0.5), Seen())
    s = open_session(tmp_path / "run", TASK, {"student": ScriptedLM({})}, {"updater": ("updater", updater)})
    with pytest.raises(UsageError, match=why):
        s.update("updater", [job(s, lines=2)])
