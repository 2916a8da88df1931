"""An evaluator: an answer is right where it begins with a reference."""

from harness import hookimpl
from harness.api import Request, Score


@hookimpl
def harness_evaluators():
    return {"first-word": "first_word:FirstWord"}


class FirstWord:
    def evaluate(self, asks, key, s):
        for ask in asks:
            requests = [Request(ask.state, s.task.prompt(q, ask.state.memory, chat=False)) for q in ask.episode.queries]
            rows = s.lm(ask.state).generate(requests)
            pairs = zip(ask.episode.queries, rows, strict=True)
            yield [self._mark(ask.episode.id, query, row[0], key) for query, row in pairs]

    def _mark(self, episode, query, answer, key):
        finish, _, reason = answer.finish.partition(": ")
        if finish in ("failed", "error"):
            return Score(episode, query.id, None if finish == "error" else 0.0, finish, parts={"reason": reason})
        right = any(answer.text.startswith(gold) for gold in key[episode][query.id])
        return Score(episode, query.id, float(right), answers=(answer.text,))
