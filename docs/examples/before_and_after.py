"""A protocol: beside the score, a table with the scores before and after the update."""

from harness import hookimpl
from harness.api import Ask, EvaluationProtocol, Measurement, TrialJob, UpdateJob


@hookimpl
def harness_protocols():
    return {"before-and-after": "before_and_after:BeforeAndAfter"}


class BeforeAndAfter(EvaluationProtocol):
    def measure(self, bench):
        s, episodes = bench.session, bench.episodes()
        student = s.roles["student"]
        before = self._flat(bench.ask([Ask(student, episode, 1, s.seed("ask", episode.id)) for episode in episodes]))
        jobs = [
            TrialJob(UpdateJob(edit.id, student, (edit,), s.seed("inner", edit.id)), (group.ask.episode,))
            for group in bench.edits(episodes)
            for edit in group.edits
        ]
        after = self._flat(trial["score"] for trial in bench.trial(jobs)) if jobs else before
        yield Measurement("score", after)
        yield Measurement("course", before, step=0, measure="score")
        yield Measurement("course", after, step=1, measure="score")

    def _flat(self, rows):
        return [score for row in rows for score in row]
