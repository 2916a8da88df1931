"""Retrieval is measured apart from reading, and the prompt holds the passages that were found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from harness_baselines.rag import Rag, RagSettings

from harness.api import Ask, Score
from harness.evaluators.closed_book import ClosedBook, ClosedBookSettings
from harness.session.service import SessionService
from harness.testing import ScriptedLM, ScriptedTask, open_session

pytest.importorskip("bm25s", reason="retrieval needs the extra 'rag'")

PAGES = {
    "tides": ("The moon pulls the sea twice a day.", {"what pulls the sea": ["the moon"]}),
    "bread": ("Yeast makes dough rise in a warm kitchen.", {"what makes dough rise": ["yeast"]}),
    "ships": ("A keel keeps a ship upright.", {"what keeps things upright": ["a keel"], "who knows": ["nobody"]}),
}
TASK = ScriptedTask({"test": PAGES})


def session(folder: Path, **settings: object) -> tuple[SessionService, ScriptedLM]:
    lm = ScriptedLM({"moon pulls": "the moon", "Yeast makes": "yeast", "keel keeps": "a keel"})
    evaluator = Rag(RagSettings(**settings), ClosedBook(ClosedBookSettings()))  # type: ignore[arg-type]
    slots = {"evaluator": ("evaluator", evaluator)}
    return open_session(folder, TASK, {"teacher": lm}, slots, roles={"student": "@teacher"}), lm


def scored(s: SessionService) -> dict[str, Score]:
    asks = [Ask(s.roles["student"], episode) for episode in s.episodes("test")]
    rows: Sequence[Sequence[Score]] = s.answer(asks)
    return {score.query: score for row in rows for score in row}


def test_each_question_is_answered_with_what_was_found_for_it(tmp_path: Path) -> None:
    s, lm = session(tmp_path, k=1)
    scores = scored(s)
    assert [scores[f"{page}/q0"].value for page in PAGES] == [1.0, 1.0, 1.0]
    asked = {
        str(request.prompt).rpartition("Question: ")[2].split("\n")[0]: str(request.prompt) for request in lm.asked
    }
    assert "The moon pulls" in asked["what pulls the sea"]
    assert "Yeast" not in asked["what pulls the sea"]


def test_recall_is_reported_apart_and_rises_with_k(tmp_path: Path) -> None:
    scores = scored(session(tmp_path, recall_at=(1, 2, 3))[0])
    assert scores["tides/q0"].measures["recall@1"] == 1.0
    for score in scores.values():
        found = [score.measures[f"recall@{k}"] for k in (1, 2, 3)]
        assert found == sorted(found)
        assert found[-1] == 1.0
    # No passage matches: the pool's order decides, and the reading score says nothing about retrieval.
    assert scores["ships/q1"].measures["recall@1"] == 0.0


def test_the_best_passage_stands_next_to_the_question(tmp_path: Path) -> None:
    s, lm = session(tmp_path, k=3)
    scored(s)
    prompt = next(str(r.prompt) for r in lm.asked if "what makes dough rise" in str(r.prompt))
    assert prompt.index("bread\nYeast") > max(prompt.index("tides\nThe moon"), prompt.index("ships\nA keel"))


def test_the_split_is_the_pool_and_nothing_else(tmp_path: Path) -> None:
    task = ScriptedTask({"train": {"secret": ("The moon pulls the sea twice a day.", {})}, "test": PAGES})
    evaluator = Rag(RagSettings(k=9), ClosedBook(ClosedBookSettings()))
    lm = ScriptedLM({})
    s = open_session(tmp_path, task, {"teacher": lm, "student": lm}, {"evaluator": ("evaluator", evaluator)})
    scored(s)
    assert not any("secret" in str(request.prompt) for request in lm.asked)
