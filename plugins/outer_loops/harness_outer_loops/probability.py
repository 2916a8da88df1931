"""The evaluator ``answer-probability``: how likely a state finds the accepted answers, without decoding any."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.api import Ask, Evaluator, Query, References, Score, Session


@dataclass(frozen=True)
class AnswerProbabilitySettings:
    """What of the likelihood is the value."""

    of: Literal["probability", "root"] = "probability"
    """The probability of the likeliest accepted answer after the task's prompt, or its square root."""
    before: str = ""
    """What stands between a prompt and the answer, such as one space where a task's prompts end without white space."""


class AnswerProbability(Evaluator):
    """exp(sum of the log-probabilities of an accepted answer's tokens), the largest over the accepted answers.

    What ends an answer is not part of it, so an answer that begins another one counts as that one does. ``measures``
    has the ``logprob`` in nats. A query without a reference is an ``error``.
    """

    Settings = AnswerProbabilitySettings
    metric = "answer-probability"

    def __init__(self, settings: AnswerProbabilitySettings) -> None:
        self._settings = settings

    def evaluate(
        self, asks: Sequence[Ask], references: Mapping[str, References], s: Session, /
    ) -> Iterator[Sequence[Score]]:
        """The scores of each ask's queries. Every model must give log-probabilities of a given text."""
        pairs = [(ask, query) for ask in asks for query in ask.episode.queries]
        golds = [tuple(references[ask.episode.id].get(query.id, ())) for ask, query in pairs]
        found = self._logprobs([(*pair, gold) for pair, mine in zip(pairs, golds, strict=True) for gold in mine], s)
        scores = iter([self._score(ask, query, [next(found) for _ in mine])
                       for (ask, query), mine in zip(pairs, golds, strict=True)])  # fmt: skip
        for ask in asks:
            yield [next(scores) for _ in ask.episode.queries]

    def _logprobs(self, asked: Sequence[tuple[Ask, Query, str]], s: Session) -> Iterator[float]:
        """The log-probability of each answer; one call for each model."""
        out = [0.0] * len(asked)
        by_model: dict[str, list[int]] = {}
        for place, (ask, _, _) in enumerate(asked):
            by_model.setdefault(ask.state.base, []).append(place)
        for places in by_model.values():
            lm = s.lm(asked[places[0]][0].state)
            chat = "chat" in lm.can
            rows = lm.logprobs(
                [(ask.state, s.task.prompt(query, ask.state.memory, chat=chat), self._settings.before + gold)
                 for ask, query, gold in (asked[place] for place in places)]
            )  # fmt: skip
            for place, row in zip(places, rows, strict=True):
                out[place] = sum(row)
        return iter(out)

    def _score(self, ask: Ask, query: Query, logprobs: Sequence[float]) -> Score:
        if not logprobs:
            return Score(ask.episode.id, query.id, None, "error", measures={"reason": "no reference answer"})
        best = max(logprobs)
        value = math.exp(min(0.0, best if self._settings.of == "probability" else best / 2))
        return Score(ask.episode.id, query.id, value, measures={"logprob": best})
