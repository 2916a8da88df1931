"""How probable the accepted answer is: a measure that is not at its floor where accuracy is, and generates nothing.

A score's value is p = exp(sum of the log-probabilities of the answer's tokens after the task's prompt), the largest
over the accepted answers; ``measures["logprob"]`` is its logarithm in nats.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from harness.api import Ask, Evaluator, Prompt, References, Score, Session, State


class AnswerProbability(Evaluator):
    """Needs a model that ``can`` give log-probabilities of a given text. A query without a reference is ``error``."""

    metric = "probability of the accepted answer"

    def evaluate(
        self, asks: Sequence[Ask], references: Mapping[str, References], s: Session, /
    ) -> Iterator[Sequence[Score]]:
        """The scores of each ask's queries, ask by ask."""
        asked: list[tuple[State, Prompt, str]] = []
        for ask in asks:
            chat = "chat" in s.lm(ask.state).can
            for query in ask.episode.queries:
                prompt = s.task.prompt(query, ask.state.memory, chat=chat)
                asked += ((ask.state, prompt, gold) for gold in references[ask.episode.id].get(query.id, ()))
        found: list[Sequence[float]] = [()] * len(asked)
        for base in dict.fromkeys(state.base for state, _, _ in asked):
            mine = [place for place, (state, _, _) in enumerate(asked) if state.base == base]
            rows = s.lm(asked[mine[0]][0]).logprobs([asked[place] for place in mine])
            for place, row in zip(mine, rows, strict=True):
                found[place] = row
        rest = iter(found)
        for ask in asks:
            scores = []
            for query in ask.episode.queries:
                golds = references[ask.episode.id].get(query.id, ())
                sums = [sum(next(rest)) for _ in golds]
                if not sums:
                    reason = {"reason": "no reference answer"}
                    scores.append(Score(ask.episode.id, query.id, None, "error", (), reason))
                else:
                    best = min(0.0, max(sums))
                    scores.append(Score(ask.episode.id, query.id, math.exp(best), measures={"logprob": best}))
            yield scores
