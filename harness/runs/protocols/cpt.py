"""Continued pretraining: one update learns all edits, and its state is asked every query (SEAL, section 4.2)."""

from __future__ import annotations

from collections.abc import Iterator

from harness.api import Bench, EvaluationProtocol, Measurement, UpdateJob
from harness.runs.protocols.single import ask_all


class ContinuedPretraining(EvaluationProtocol):
    """One job with all edits, as the task joins them, for the updater of the slot ``cpt`` where there is one."""

    def work(self, contexts: int, queries: int, samples: int) -> tuple[int, int]:
        """Numbers of updates and of answers."""
        return 1, queries

    def measure(self, bench: Bench, /) -> Iterator[Measurement]:
        """``score`` and every further measure, of the state that learnt all edits."""
        s = bench.session
        student = s.roles["student"]
        if not bench.has_editor:
            yield from ask_all(bench, student)
            return
        edits = tuple(edit for group in bench.edits(bench.episodes()) for edit in group.edits)
        job = UpdateJob(f"{bench.label}/cpt", student, bench.join(edits), s.seed(bench.label, "cpt"))
        [updated] = s.update("cpt" if "cpt" in bench.updaters else "updater", [job])
        if left_out := updated.log.get("left_out"):
            first = updated.log.get("left_out_first")
            bench.remark(f"{left_out} of {len(edits)} edits left out of the update, the first: {first}")
        if updated.state is not None:
            yield from ask_all(bench, updated.state)
            return
        for name in bench.measures:
            rows = bench.unanswered(bench.episodes(name), updated, name)
            yield Measurement(name, [score for row in rows for score in row])
