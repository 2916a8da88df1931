"""The protocol ``by-round``: the policy after every round of its outer loop is asked everything, the last one last."""

from __future__ import annotations

from collections.abc import Iterator

from harness.api import Bench, EvaluationProtocol, Measurement
from harness.runs.protocols.single import Single, ask_all
from harness_self_study.learning import kept


class ByRound(EvaluationProtocol):
    """Every measure at every round that the trainer noted; step 0 is the start. The figures are those of the policy
    that is deployed. A method with an editor is measured by ``single``, without steps."""

    def work(self, contexts: int, queries: int, samples: int, /) -> tuple[int, int]:
        """Numbers of updates and of answers, of one round."""
        return contexts * samples, queries * samples

    def measure(self, bench: Bench, /) -> Iterator[Measurement]:
        """``score`` and every further measure, step by step."""
        if bench.has_editor:
            yield from Single().measure(bench)
            return
        student = bench.session.roles["student"]
        states = kept(bench.session)
        if not states or states[-1] != student:
            states.append(student)
        for step, state in enumerate(states):
            for one in ask_all(bench, state):
                yield Measurement(one.name, one.scores, step)
