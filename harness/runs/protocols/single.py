"""One update per edit: each state is asked about the episode that its edit was written for (SEAL, section 4.1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.api import (
    HEADLINE,
    Ask,
    Bench,
    Episode,
    EvaluationProtocol,
    Measurement,
    Score,
    State,
    TrialJob,
    UpdateJob,
)


class Single(EvaluationProtocol):
    """Every edit is learnt by itself from the student's state; the new state is asked, and thrown away."""

    def work(self, contexts: int, queries: int, samples: int) -> tuple[int, int]:
        """Numbers of updates and of answers."""
        return contexts * samples, queries * samples

    def measure(self, bench: Bench, /) -> Iterator[Measurement]:
        """``score`` and every further measure; a query's figure is its mean over the states that were asked it."""
        s, episodes = bench.session, bench.episodes()
        student = s.roles["student"]
        if not bench.has_editor:
            yield from ask_all(bench, student)
            return
        jobs: list[TrialJob] = []
        at: list[int] = []
        for index, (episode, group) in enumerate(zip(episodes, bench.edits(episodes), strict=True)):
            for edit in group.edits:
                job = UpdateJob(f"{bench.label}/{edit.id}", student, (edit,), s.seed("inner", edit.id))
                jobs.append(TrialJob(job, (episode,)))
                at.append(index)
        rows: dict[str, list[list[Score]]] = {name: [[] for _ in episodes] for name in bench.measures}
        for index, scores in zip(at, bench.trial(jobs, tuple(bench.measures)), strict=True):
            for name, row in scores.items():
                rows[name][index].extend(row)
        # An editor may pass over an episode (selection); the start model then answers, as it would in deployment.
        bare = sorted(set(range(len(episodes))) - set(at))
        for name in bench.measures:
            own = _own(bench, name)
            asks = [(i, Ask(student, e)) for i in bare for e in (own or [episodes[i]])]
            for (index, _), row in zip(asks, bench.ask([ask for _, ask in asks], name), strict=True):
                rows[name][index].extend(row)
        for name in bench.measures:
            yield Measurement(name, [score for one in rows[name] for score in one])


def ask_all(bench: Bench, state: State) -> Iterator[Measurement]:
    """All measures of one state: each asks its episodes once."""
    for name in bench.measures:
        asks = [Ask(state, e, 1, bench.session.seed(bench.label, "ask", e.id)) for e in bench.episodes(name)]
        yield Measurement(name, [score for row in bench.ask(asks, name) for score in row])


def _own(bench: Bench, measure: str) -> Sequence[Episode]:
    """The episodes of a measure that has other items than the headline; empty where they are the same."""
    own = bench.episodes(measure)
    return () if measure == HEADLINE or own == bench.episodes() else own
