"""Several answers to every question, and what their crowd is like: pass@1, pass@k, maj@k, diversity, length.

All measures are made of the same samples, so that tables of several measures cost what one costs: name one table per
measure in a run's section ``also``. Two answers are one where the task says so (:meth:`harness.api.Task.same`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import Annotated, Any, Literal

from pydantic import Field

from harness.api import Ask, Completion, Evaluator, Query, References, Request, Score, Session
from harness.votes import Same, classes, vote

MeasureName = Literal[
    "pass@1", "pass@k", "maj@k", "distinct-answers", "distinct-texts", "openings", "length", "agreement"
]


@dataclass(frozen=True)
class SampledSettings:
    """How often and how a question is asked, and which measure is the value."""

    measure: MeasureName = "pass@1"
    """``pass@1``: share of right samples. ``pass@k``: probability that one of k samples at least is right, estimated
    without bias from all (Chen et al. 2021, arXiv 2107.03374, eq. 1). ``maj@k``: whether the answer that most of the
    first k give is right, the first of equals. ``distinct-answers``, ``distinct-texts``: different ones, as a share of
    the samples. ``openings``: probability that two samples begin with different words. ``length``: mean tokens, as a
    share of ``max_tokens``. ``agreement``: share of the samples that give the majority's answer."""
    samples: Annotated[int, Field(ge=1)] = 16
    """Answers per question."""
    k: Annotated[int, Field(ge=0)] = 0
    """The k of ``pass@k`` and ``maj@k``; 0 is all samples."""
    temperature: Annotated[float, Field(ge=0)] = 1.0
    """Sampling temperature; 0 is greedy decoding."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Nucleus sampling: only the most probable tokens that together have this probability are drawn."""
    max_tokens: Annotated[int, Field(ge=1)] = 128
    """New tokens per answer."""


class Sampled(Evaluator):
    """Every measure stands in :attr:`harness.api.Score.measures`; ``correct`` marks each sample, in order.

    A sample without an answer is wrong, and has no vote. A prompt that the model cannot take is ``failed``; samples
    that did not come are ``error``.
    """

    Settings = SampledSettings

    def __init__(self, settings: SampledSettings) -> None:
        self._settings = settings
        self.metric = settings.measure

    def evaluate(
        self, asks: Sequence[Ask], references: Mapping[str, References], s: Session, /
    ) -> Iterator[Sequence[Score]]:
        """The scores of each ask's queries; an ask's own number of samples multiplies the setting's."""
        pairs = [(ask, query) for ask in asks for query in ask.episode.queries]
        chat = {ask.state.base: "chat" in s.lm(ask.state).can for ask in asks}
        rows = s.generate([self.request(ask, query, s, chat=chat[ask.state.base]) for ask, query in pairs])
        found = iter(
            self._score(ask, query, row, references[ask.episode.id].get(query.id, ()), s)
            for (ask, query), row in zip(pairs, rows, strict=True)
        )
        for ask in asks:
            yield [next(found) for _ in ask.episode.queries]

    def request(self, ask: Ask, query: Query, s: Session, *, chat: bool) -> Request:
        """What the model is asked."""
        own = self._settings
        return Request(
            ask.state,
            s.task.prompt(query, ask.state.memory, chat=chat),
            n=own.samples * ask.samples,
            temperature=own.temperature,
            top_p=own.top_p,
            max_tokens=own.max_tokens,
            seed=ask.seed,
        )

    def _score(self, ask: Ask, query: Query, row: Sequence[Completion], golds: Sequence[str], s: Session) -> Score:
        texts = tuple(one.text.strip() for one in row)

        def nothing(status: Literal["failed", "error"], reason: str) -> Score:
            value = 0.0 if status == "failed" else None
            return Score(ask.episode.id, query.id, value, status, texts, {"reason": reason})

        if not golds:
            return nothing("error", "no reference answer")
        lost = [one for one in row if one.finish == "error"]
        if lost:
            return nothing("error", lost[0].reason or "no text")
        if all(one.finish == "failed" for one in row):
            return nothing("failed", row[0].reason or "no text")
        answers = [None if one.finish == "failed" else s.task.extract(query, one.text) for one in row]

        def same(a: str, b: str) -> bool:
            return s.task.same(query, a, b)

        correct = [answer is not None and any(same(answer, gold) for gold in golds) for answer in answers]
        own = self._settings
        k = min(own.k or len(row), len(row))
        measures: dict[str, Any] = {
            **_accuracy(answers, correct, k, same),
            **_diversity(answers, row, same),
            "length": sum(_tokens(one) for one in row) / len(row) / own.max_tokens,
        }
        value = float(measures[own.measure])
        return Score(ask.episode.id, query.id, value, "ok", texts, {**measures, "correct": [int(c) for c in correct]})


def pass_at_k(right: int, samples: int, k: int) -> float:
    """Probability that k of the samples, drawn without replacement, hold a right one (arXiv 2107.03374, eq. 1)."""
    return 1.0 - comb(samples - right, k) / comb(samples, k)


def _accuracy(answers: Sequence[str | None], correct: Sequence[bool], k: int, same: Same) -> dict[str, float]:
    majority = vote(answers[:k], same)
    return {
        "pass@1": sum(correct) / len(correct),
        "pass@k": pass_at_k(sum(correct), len(correct), k),
        "maj@k": float(majority.index is not None and correct[majority.index]),
        "agreement": majority.share,
    }


def _diversity(answers: Sequence[str | None], row: Sequence[Completion], same: Same) -> dict[str, float]:
    n = len(row)
    texts = [" ".join(one.text.split()) for one in row]
    first = [text.split(" ")[0] for text in texts]
    alike = sum(first.count(word) * (first.count(word) - 1) for word in set(first))
    return {
        "distinct-answers": len({number for number in classes(answers, same) if number is not None}) / n,
        "distinct-texts": len(set(texts)) / n,
        "openings": 1.0 - alike / (n * (n - 1)) if n > 1 else 0.0,
    }


def _tokens(one: Completion) -> float:
    return float(one.cost.get("completion_tokens", len(one.tokens or one.text.split())))
