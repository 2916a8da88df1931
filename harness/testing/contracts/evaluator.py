"""The rules for evaluators (:class:`harness.api.Evaluator`)."""

from __future__ import annotations

import dataclasses
import unittest
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from harness.api import Ask, Completion, Finish, Request, Score
from harness.session.service import SessionService
from harness.testing.contracts.base import Contract, permuted, same, survives_json, under_global_seed
from harness.testing.scripted import ScriptedLM

CANARY = "canary-4c61"


class EvaluatorContract(Contract):
    """Subclass it, set ``component`` to the evaluator's class, and run pytest."""

    kind: ClassVar[str] = "evaluator"
    asks_the_model: ClassVar[bool] = True
    """Whether a score is the mark of an answer that the state gives."""

    def asks(self, s: SessionService) -> list[Ask]:
        """An ask for each validation episode, put to the start model."""
        return [Ask(s.roles["student"], episode, seed=s.seed(episode.id)) for episode in self._full(s)]

    def right_answer(self, query: str, references: Sequence[str]) -> str:
        """What a model that knows the answer would say."""
        return references[0]

    # --- shape ---

    def test_one_score_per_query_in_order(self, tmp_path: Path) -> None:
        with self._open(tmp_path) as s:
            asks = self.asks(s)
            for ask, scores in zip(asks, self._raw(s, asks), strict=True):
                assert [score.query for score in scores] == [q.id for q in ask.episode.queries], (
                    f"episode {ask.episode.id!r}: one score for every query, in order"
                )
                assert {score.episode for score in scores} == {ask.episode.id}

    def test_accepts_an_empty_list_of_asks(self, tmp_path: Path) -> None:
        with self._open(tmp_path) as s:
            assert self._raw(s, []) == []

    def test_values_are_in_range_and_none_only_for_errors(self, tmp_path: Path) -> None:
        with self._open(tmp_path) as s:
            for score in _flat(self._raw(s, self.asks(s))):
                assert (score.value is None) == (score.status == "error"), f"{score}: None is for 'error' alone"
                assert score.value is None or 0.0 <= score.value <= 1.0, f"{score}: not in [0, 1]"

    def test_scores_survive_the_journal(self, tmp_path: Path) -> None:
        with self._open(tmp_path) as s:
            survives_json([list(row) for row in self._raw(s, self.asks(s))], "its scores")

    # --- determinism ---

    def test_the_same_asks_get_the_same_scores(self, tmp_path: Path) -> None:
        with self._open(tmp_path / "once") as s:
            once = under_global_seed(1, lambda: self._raw(s, self.asks(s)))
        with self._open(tmp_path / "again") as s:
            again = under_global_seed(2, lambda: self._raw(s, self.asks(s)))
        same([list(row) for row in once], [list(row) for row in again], "the same asks got different scores")

    def test_the_order_of_asks_does_not_matter(self, tmp_path: Path) -> None:
        with self._open(tmp_path / "in order") as s:
            rows = self._raw(s, self.asks(s))
        with self._open(tmp_path / "permuted") as s:
            asks, places = permuted(self.asks(s))
            moved = self._raw(s, asks)
        same(
            [list(row) for row in rows], [list(moved[place]) for place in places], "scores depend on the order of asks"
        )

    # --- right, wrong, failed, lost ---

    def test_right_answers_beat_wrong_ones(self, tmp_path: Path) -> None:
        if not self.asks_the_model:
            return
        right, wrong = [
            _flat(self._answered(tmp_path / name, knows)) for name, knows in (("right", True), ("wrong", False))
        ]
        for good, bad in zip(right, wrong, strict=True):
            assert (good.value or 0.0) > (bad.value or 0.0), (
                f"query {good.query!r}: a right answer scores {good.value}, a wrong one {bad.value}"
            )

    def test_an_empty_answer_is_wrong_and_not_an_error(self, tmp_path: Path) -> None:
        if not self.asks_the_model:
            return
        lm = ScriptedLM(lambda request, index: "")
        with self._open(tmp_path, lm) as s:
            scores = _flat(self._raw(s, self.asks(s)))
            _skipped_unless_asked(lm)
            for score in scores:
                assert score.status != "error", "an empty answer is the method's doing: it counts as wrong"
                assert score.value == 0.0, f"an empty answer scores {score.value}"

    def test_a_failed_answer_gives_a_failed_score(self, tmp_path: Path) -> None:
        self._finish(tmp_path, "failed", "context length 700 > 512")

    def test_a_lost_answer_is_an_error_without_a_value(self, tmp_path: Path) -> None:
        self._finish(tmp_path, "error", "HTTP 503")

    def test_references_stay_out_of_the_prompts(self, tmp_path: Path) -> None:
        lm = self.lm()
        with self._open(tmp_path, lm) as s:
            asks = self.asks(s)
            references = {
                ask.episode.id: {query.id: [f"{CANARY}-{query.id}"] for query in ask.episode.queries} for ask in asks
            }
            list(self.make().evaluate(asks, references, s))
            assert not any(CANARY in str(request.prompt) for request in lm.asked), "a prompt holds a reference"

    # --- how ---

    def _open(self, folder: Path, lm: Any = None) -> Any:
        return self.session(folder, lm, evaluator=("evaluator", self.make()))

    def _full(self, s: SessionService) -> list[Any]:
        return [s.context.episodes.full(episode.id) for episode in s.episodes("validation")]

    def _raw(self, s: SessionService, asks: Sequence[Ask]) -> list[Sequence[Score]]:
        references = s.context.episodes.references([ask.episode.id for ask in asks])
        return list(self.make().evaluate(asks, references, s))

    def _answered(self, folder: Path, knows: bool) -> list[Sequence[Score]]:
        task = self.task()
        loaded = task.load("validation")
        golds = {
            str(task.prompt(query, {}, chat=False)): self.right_answer(query.text, references[query.id])
            for episode, references in loaded
            for query in episode.queries
        }
        lm = ScriptedLM(lambda request, index: golds.get(str(request.prompt), "") if knows else "certainly not that")
        with self._open(folder, lm) as s:
            rows = self._raw(s, self.asks(s))
            _skipped_unless_asked(lm)
            return rows

    def _finish(self, folder: Path, finish: Finish, reason: str) -> None:
        if not self.asks_the_model:
            return
        lm = _Finishes(self.answer, finish, reason)
        with self._open(folder, lm) as s:
            scores = _flat(self._raw(s, self.asks(s)))
            _skipped_unless_asked(lm)
            for score in scores:
                assert score.status == finish, f"the completion's finish was {finish!r}; the score is {score.status!r}"


class _Finishes(ScriptedLM):
    def __init__(self, answers: Any, finish: Finish, reason: str) -> None:
        super().__init__(answers)
        self._ending: dict[str, Any] = {"text": "", "tokens": (), "logprobs": None, "finish": finish, "reason": reason}

    def generate(self, asks: Sequence[Request], /) -> list[list[Completion]]:
        rows = super().generate(asks)
        return [[dataclasses.replace(one, **self._ending) for one in row] for row in rows]


def _skipped_unless_asked(lm: ScriptedLM) -> None:
    """An evaluator that reads likelihoods or states has no answers to be right or wrong, lost or empty."""
    if not lm.asked:
        raise unittest.SkipTest("it asks the model for no answers")


def _flat(rows: Sequence[Sequence[Score]]) -> list[Score]:
    return [score for row in rows for score in row]
