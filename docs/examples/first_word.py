"""An evaluator: an answer is right if it begins with a reference."""

from harness import hookimpl
from harness.api import Evaluator, Request, Score


@hookimpl
def harness_evaluators():
    return {"first-word": "first_word:FirstWord"}


class FirstWord(Evaluator):
    def evaluate(self, asks, references, s):
        for ask in asks:
            requests = [Request(ask.state, s.task.prompt(q, ask.state.memory, chat=False)) for q in ask.episode.queries]
            pairs = zip(ask.episode.queries, s.generate(requests), strict=True)
            yield [self._mark(ask.episode.id, query, row[0], references) for query, row in pairs]

    def _mark(self, episode, query, answer, references):
        if answer.finish in ("failed", "error"):
            value = 0.0 if answer.finish == "failed" else None
            return Score(episode, query.id, value, answer.finish, measures={"reason": answer.reason})
        right = any(answer.text.startswith(gold) for gold in references[episode][query.id])
        return Score(episode, query.id, float(right), answers=(answer.text,))
