"""The protocol ``by-round``: the deployed policy is asked everything, and so is that of every round before it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from harness.api import Bench, EvaluationProtocol, Measurement
from harness.runs.protocols.single import Single, ask_all
from harness_self_study.learning import kept


class ByRound(EvaluationProtocol):
    """Every measure of the deployed policy, and again in a table ``by-round.NAME`` at every round that the trainer
    noted, where step 0 is the start. Without an outer loop the policy is the same at every step. A method with an
    editor is measured by ``single``, and has no tables by round."""

    def work(self, contexts: int, queries: int, samples: int, /) -> tuple[int, int]:
        """Numbers of updates and of answers, of one round."""
        return contexts * samples, queries * samples

    def measure(self, bench: Bench, /) -> Iterator[Measurement]:
        """``score`` and every further measure, then both by round."""
        if bench.has_editor:
            yield from Single().measure(bench)
            return
        student = bench.session.roles["student"]
        for one in ask_all(bench, student):
            yield one
            if len(kept(bench.session)) < 2:
                yield replace(one, name=f"by-round.{one.name}", measure=one.name)
        states = kept(bench.session)
        for step, state in enumerate(states if len(states) > 1 else []):
            for one in ask_all(bench, state):
                yield Measurement(f"by-round.{one.name}", one.scores, step, one.name)
