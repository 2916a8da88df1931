"""A row's card compared with what its session saw: why a row is not ranked although every query was scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.api import Method, State
from harness.runs.bench import RunBench
from harness.session.service import SessionService


@dataclass(frozen=True)
class SeedFacts:
    """What is known about one method under one seed."""

    faults: tuple[str, ...] = ()
    """Why the row is not ranked; empty where nothing speaks against it."""
    remarks: tuple[str, ...] = ()
    happened: Mapping[str, bool] = field(default_factory=dict)
    """:attr:`harness.evidence.result.Row.happened`."""


def seed_facts(
    method: Method, session: SessionService, bench: RunBench, rounds: Sequence[Mapping[str, State]]
) -> SeedFacts:
    """Sum up what happened, and keep it in the journal.

    Args:
        rounds: the roles of every checkpoint, the start first; empty without an outer loop.
    """
    outer = session.scope.facts.outer
    seen = session.scope.facts.seen
    others = {*seen("wrote")} - {session.roles["student"].base}
    happened = {
        "open_book": bool(seen("open_book")),
        "queries": bool(seen("queries")) or (method.sees == "context+queries" and bool(bench.groups)),
        "transductive": bool(seen("test", "outer")),
        "outside_teacher": bool(others),
    }
    faults = [*outer.faults(), *_untrained(session, rounds), *_passed_over(bench), *_untrue(method, happened)]
    facts = SeedFacts(tuple(faults), tuple(outer.remarks()), happened)
    kept = {"faults": list(facts.faults), "remarks": list(facts.remarks), "happened": dict(facts.happened)}
    session.journal.keep(session.scope.name, "facts", kept)
    return facts


def _untrained(session: SessionService, rounds: Sequence[Mapping[str, State]]) -> list[str]:
    """A fault where every checkpoint is the start, although the loop updated or has an updater for nothing else."""
    outer = session.scope.facts.outer
    if len(rounds) < 2 or outer.lost or any(dict(one) != dict(rounds[0]) for one in rounds[1:]):
        return []
    if outer.updated:
        return [f"the outer loop made {outer.updated} updates, and no round has their result"]
    own = [name for name, slot in session.scope.slots.items() if slot.kind == "updater" and name != "updater"]
    return [f"the outer loop never updated anything with {own[0]!r}: the start was measured"] if own else []


def _passed_over(bench: RunBench) -> list[str]:
    """A fault where the editor wrote nothing at all for the test split."""
    if not bench.groups or any(group.edits for group in bench.groups):
        return []
    return [f"the editor passed over all {len(bench.groups)} test contexts: the start model was measured"]


_UNTRUE = {
    "open_book": "the passage was in the prompt or memory of its answers, and its card says closed book",
    "queries": "test queries were in prompts for writing edits, and its card says that it sees contexts only",
    "transductive": "test contexts or queries entered the outer loop, and its card does not say transductive",
    "outside_teacher": "a model other than the student's wrote edits, and its card says no outside teacher",
}


def _untrue(method: Method, happened: Mapping[str, bool]) -> list[str]:
    """What happened but is not on the card. A card may declare more than happens, for that gains a row nothing."""
    declared = {
        "open_book": method.open_book,
        "queries": method.sees == "context+queries",
        "transductive": method.transductive,
        "outside_teacher": method.outside_teacher,
    }
    return [_UNTRUE[name] for name, did in happened.items() if did and not declared[name]]


def why_unranked(of_seeds: Sequence[tuple[int, SeedFacts]]) -> tuple[str, ...]:
    """The faults of a row over its seeds, each once, with the seeds that have it where not all do."""
    found: dict[str, list[int]] = {}
    for seed, facts in of_seeds:
        for fault in facts.faults:
            found.setdefault(fault, []).append(seed)
    out = []
    for fault, seeds in found.items():
        some = "" if len(seeds) == len(of_seeds) else f"seed {', '.join(map(str, seeds))}: "
        out.append(some + fault)
    return tuple(out)


def happened(of_seeds: Sequence[tuple[int, SeedFacts]]) -> dict[str, bool]:
    """For each fact, whether it happened under any seed."""
    names = dict.fromkeys(name for _, facts in of_seeds for name in facts.happened)
    return {name: any(facts.happened.get(name, False) for _, facts in of_seeds) for name in names}
