"""From measured scores to the run's result file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from harness.api import HEADLINE, JSON, Episode, EvaluationProtocol, State, Task
from harness.books.environment import describe_environment
from harness.books.episodes import EpisodeBook
from harness.books.folder import write_recorded
from harness.books.records import digest, encode
from harness.evidence.result import (
    SCHEMA,
    Card,
    ModelCard,
    Provenance,
    ResultFile,
    Row,
    Snapshot,
    Table,
    TaskItems,
    make_row,
)
from harness.models.prices import undated
from harness.registry.build import BuiltComponent, compared
from harness.runs import readable
from harness.runs.bench import RunBench
from harness.runs.config import Config
from harness.runs.edits import edit_lines
from harness.runs.facts import SeedFacts, happened, seed_facts, why_unranked
from harness.runs.layers import Arm
from harness.runs.measured import SeedTable, sample_status
from harness.session.context import RunContext
from harness.session.service import SessionService
from harness.text import REPLACED, repaired, said


@dataclass(frozen=True)
class RoundRecord:
    """A checkpoint of an outer loop; index -1 is the start, before the first round."""

    index: int
    roles: Mapping[str, State]
    validation: float | None
    """Macro score in [0, 1]; None where it was not measured."""
    metrics: JSON = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """One method under one seed, measured."""

    arm: Arm
    seed: int
    tables: Mapping[str, SeedTable]
    """The headline first."""
    rounds: Sequence[RoundRecord]
    chosen: int | None
    costs: Mapping[str, float]
    conditions: Mapping[str, Mapping[str, Any]]
    """Table -> conditions of its row, as :attr:`harness.evidence.result.Row.conditions`."""
    editor_model: str
    start_model: str
    remarks: Sequence[str] = ()
    """Notes on the row that come from this seed."""
    facts: SeedFacts = field(default_factory=SeedFacts)


def outcome(
    context: RunContext,
    arm: Arm,
    seed: int,
    session: SessionService,
    protocol: BuiltComponent[EvaluationProtocol],
    bench: RunBench,
    tables: Mapping[str, SeedTable],
    rounds: Sequence[RoundRecord],
    chosen: int | None,
    meta_s: float,
) -> Outcome:
    """Write a row's edits, per-query scores and chosen policy to the run's folder, and sum up what it cost.

    Args:
        meta_s: seconds that the one-off training of its components took, before any run.
    """
    name = f"{arm.method.name}-{seed}"
    if bench.groups:
        write_recorded(context.journal, context.folder, f"edits/{name}.jsonl", edit_lines(bench.groups))
    for table in tables.values():
        _write_scores(context, name, arm.method.name, seed, table)
    happened_there = [*_cost_lines(context, session.scope.name), *session.scope.history.lines(chosen)]
    write_recorded(context.journal, context.folder, f"history/{name}.jsonl", _json_lines(happened_there))
    teacher, student = session.roles["teacher"], session.roles["student"]
    context.journal.keep(session.scope.name, "deployed", {role: _state(session.roles[role]) for role in session.roles})
    model = context.models[student.base]
    # Edits applied to a trained policy cannot be compared with edits applied to the model. But where the trained policy
    # is itself what is measured, or is compared with its own start, the start was the model.
    shared = {
        "samples": tables[HEADLINE].samples(),
        "base_model": student.base,
        "model_settings": digest(dict(model.identity))[:16],
        "start_model": "policy" if student.adapters and bench.groups and not arm.method.transductive else "model",
        "protocol": protocol.name,
        **({"protocol_settings": digest(compared(protocol))[:16]} if protocol.settings else {}),
        "transductive": arm.method.transductive,
        "open_book": arm.method.open_book,
    }
    facts = seed_facts(arm.method, session, bench, [one.roles for one in rounds])
    wrote = any(edit.actions for group in bench.groups for edit in group.edits)
    return Outcome(
        arm,
        seed,
        tables,
        rounds,
        chosen,
        {**_costs(context, session.scope.name, bench), "labels": float(len(session.labels)), "meta_s": meta_s},
        {name: {**_asked(bench, table), **shared} for name, table in tables.items()},
        _name(context, teacher) if wrote else "",
        _name(context, student),
        [
            *_remarks(session.task, bench, tables[HEADLINE]),
            *(
                said
                for name, table in tables.items()
                for said in bench.remarks_on(name, table.asked, table.by_sample())
            ),
            *readable.note(context, student),
            *_reduced(context, session.scope.name),
            *_replaced(context, session.scope.name, bench),
            *facts.remarks,
            *_diagnoses(session),
            *_payments(context, {session.roles[role].base for role in session.roles}),
        ],
        facts,
    )


def _asked(bench: RunBench, table: SeedTable) -> dict[str, Any]:
    """The part of a row's conditions that says what was asked and who graded it."""
    measure = table.measure
    items: Any = list(table.contexts.items())
    evaluator: str = measure.evaluator
    if table.asked:
        items = bench.identities(table.asked, table.contexts)
        evaluator = digest(compared(bench.evaluator(table.asked)))[:16]
    return {
        "task": measure.task,
        "version": measure.version,
        "items": digest(items)[:16],
        "metric": measure.metric,
        "evaluator": evaluator,
        **({} if measure.split == "test" else {"split": measure.split}),
    }


def result_file(
    run: str, config: Config, context: RunContext, outcomes: Sequence[Outcome], source: str, provenance: Provenance
) -> ResultFile:
    """All rows of a run, table by table: one per method, over its seeds.

    Args:
        run: the run's name.
        source: the command that makes such a run again.
    """
    grouped: dict[str, list[tuple[str, Outcome]]] = {}
    first: dict[str, Any] = {}
    samples = outcomes[0].conditions[HEADLINE]["samples"] if outcomes else 1
    for one in (_as_often(one, samples) for one in outcomes):
        for name, table in one.tables.items():
            measure = table.measure
            kind = (measure.task, measure.version, measure.split, measure.unit, measure.lower_is_better)
            # Methods whose protocols measure different things under one name have a table each.
            place = name if first.setdefault(name, kind) == kind else f"{name}-{one.arm.method.name}"
            grouped.setdefault(place, []).append((name, one))
    base = next(iter(context.models.values()))
    recomputed = context.journal.fact("recomputed") or []
    made = ResultFile(
        SCHEMA,
        run,
        "measured",
        source,
        ModelCard(base.name or base.base, base.base),
        context.journal.fact("environment") or describe_environment(),
        tuple(_table(place, config, members, recomputed) for place, members in grouped.items()),
        provenance=provenance,
    )
    return repaired(made)[0]


def _as_often(one: Outcome, samples: int) -> Outcome:
    """The outcome; where nothing was written by a model, it stands for any number of samples, so for the main row's."""
    if one.editor_model:
        return one
    conditions = {name: {**mine, "samples": samples} for name, mine in one.conditions.items()}
    return replace(one, conditions=conditions)


def _table(name: str, config: Config, members: Sequence[tuple[str, Outcome]], of_run: Sequence[str]) -> Table:
    """One table over methods and seeds; a query that one of them was not asked is missing there.

    Args:
        of_run: notes that belong on every row of the run.
    """
    contexts: dict[str, dict[str, None]] = {}
    steps: set[int] = set()
    for own, one in members:
        table = one.tables[own]
        for context, asked in table.contexts.items():
            contexts.setdefault(context, {}).update(dict.fromkeys(asked))
        steps |= {step for step in table.scores if step is not None}
    items = tuple((context, tuple(queries)) for context, queries in contexts.items())
    ordered = sorted(steps)
    own, first = members[0]
    measure = first.tables[own].measure
    task = TaskItems(
        measure.task,
        measure.version,
        measure.split,
        measure.metric,
        items,
        unit=measure.unit,
        lower_is_better=measure.lower_is_better,
    )
    ids = [query for _, asked in items for query in asked]
    rows = []
    for arm in config.arms:
        mine = [(own, one) for own, one in members if one.arm is arm]
        if mine:
            of_method = _of_the_method(mine, of_run) if name == HEADLINE else {}
            rows.append(_row(arm, mine, ids, ordered, of_method))
    return Table(name, task, measure.evaluator, tuple(rows), tuple(ordered))


def _row(
    arm: Arm,
    members: Sequence[tuple[str, Outcome]],
    queries: Sequence[str],
    steps: Sequence[int],
    of_method: Mapping[str, Any],
) -> Row:
    tables = [one.tables[own] for own, one in members]
    outcomes = [one for _, one in members]
    first = outcomes[0]
    at: Sequence[int | None] = steps or [None]
    snapshots = [_snapshot(tables, step, queries) for step in at]
    return make_row(
        method=arm.method.name,
        plugin=arm.plugin,
        card=Card(
            arm.method.sees, arm.method.transductive, arm.method.open_book, arm.method.outside_teacher, arm.method.paper
        ),
        protocol=str(arm.protocol["use"]),
        editor_model=first.editor_model,
        start_model=first.start_model,
        conditions=first.conditions[members[0][0]],
        seeds=tuple(outcome.seed for outcome in outcomes),
        scores=snapshots[-1].scores,
        status=snapshots[-1].status,
        queries=len(queries),
        earlier=tuple(snapshots[:-1]),
        samples=sample_status(tables, queries, at[-1]),
        unranked=why_unranked([(one.seed, one.facts) for one in outcomes]),
        happened=happened([(one.seed, one.facts) for one in outcomes]),
        **of_method,
    )


def _snapshot(tables: Sequence[SeedTable], step: int | None, queries: Sequence[str]) -> Snapshot:
    """The scores of all seeds at a step; what a protocol measured without steps is the same at every step."""
    missing = (None, "-")
    columns = []
    for table in tables:
        cells = table.cells(None if None in table.scores else step)
        columns.append([cells.get(query, missing) for query in queries])
    return Snapshot(
        tuple(tuple(value for value, _ in column) for column in columns),
        tuple("".join(status for _, status in column) for column in columns),
    )


def _of_the_method(members: Sequence[tuple[str, Outcome]], of_run: Sequence[str]) -> dict[str, Any]:
    """The fields that a method has once, in its headline row: costs, curve, reliability and notes."""
    outcomes = [one for _, one in members]
    conditions = {json.dumps(dict(one.conditions[own]), sort_keys=True) for own, one in members}
    notes = [] if len(conditions) == 1 else ["its seeds deployed different start models"]
    notes += of_run
    said = list(dict.fromkeys((o.seed, remark) for o in outcomes for remark in (*o.remarks, *_of_rounds(o))))
    of_all = [one for one, count in Counter(remark for _, remark in said).items() if count == len(outcomes)]
    notes += of_all
    notes += [f"seed {seed}: {remark}" for seed, remark in said if remark not in of_all]
    costs: dict[str, float | None] = {}
    for name in dict.fromkeys(name for outcome in outcomes for name in outcome.costs):
        digits = 6 if name == "usd" else 3
        costs[name] = round(sum(outcome.costs.get(name, 0.0) for outcome in outcomes), digits)
    return {
        "costs": costs,
        "curve": tuple(_curve(outcomes)),
        "reliability": tuple(_reliability(outcomes)),
        "notes": tuple(notes),
    }


def _remarks(task: Task, bench: RunBench, headline: SeedTable) -> list[str]:
    """Notes: reasons that the editor gave with usable edits, the protocol's remarks, and the task's on the scores."""
    edits = [edit for group in bench.groups for edit in group.edits]
    marked = [edit.reason for edit in edits if edit.status == "ok" and edit.reason]
    said = [f"{len(marked)} of {len(edits)} edits marked, the first: {marked[0]}"] if marked else []
    return [*said, *bench.remarks, *task.remarks(headline.by_sample())]


def _curve(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Validation score by round, averaged over the seeds that measured it."""
    out = []
    for index in sorted({record.index for outcome in outcomes for record in outcome.rounds}):
        records = [r for outcome in outcomes for r in outcome.rounds if r.index == index]
        known = [r.validation for r in records if r.validation is not None]
        chosen = sum(o.chosen is not None and o.rounds[o.chosen].index == index for o in outcomes)
        mean = sum(known) / len(known) if known else None
        out.append({"round": index + 1, "validation": mean, "seeds": len(records), "chosen": chosen})
    return out


def _of_rounds(outcome: Outcome) -> list[str]:
    """What a loop noted of its rounds, such as why it stopped before the last one."""
    noted = [(record.index + 1, record.metrics.get("note")) for record in outcome.rounds]
    return [f"round {number}: {note}" for number, note in noted if isinstance(note, str) and note]


def _reliability(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    return [
        {"seed": outcome.seed, "round": record.index + 1, **record.metrics["reliability"]}
        for outcome in outcomes
        for record in outcome.rounds
        if isinstance(record.metrics.get("reliability"), Mapping)
    ]


def _reduced(context: RunContext, scope: str) -> list[str]:
    """A remark where batches were shrunk because memory ran out: smaller batches round differently."""
    times = sum(cost.get("reduced", 0.0) for cost in context.journal.costs(scope).values())
    return [f"batches shrunk because memory ran out ({times:.0f} results)"] if times else []


def _replaced(context: RunContext, scope: str, bench: RunBench) -> list[str]:
    """Remarks on characters that could not be written."""
    counts = bench.replaced()
    counts["answers and edits"] += int(sum(cost.get(REPLACED, 0.0) for cost in context.journal.costs(scope).values()))
    return [said(count, where) for where, count in counts.items() if count]


def _diagnoses(session: SessionService) -> list[str]:
    """A remark on how many of the method's own labels were right, which it never got to know."""
    found = [
        f"{name} {100 * right / total:.1f}% of {total}" if total else f"{name} none comparable"
        for name, (right, total) in session.diagnoses.items()
    ]
    return [f"labels that were right: {'; '.join(found)}"] if found else []


def _payments(context: RunContext, bases: Collection[str]) -> list[str]:
    """Remarks on the accounts of a row's models and of judges: another model answered, or money was lost."""
    out = []
    for name, account in sorted(context.journal.ledger.accounts().items()):
        model = context.models.get(name)
        if model is not None and name not in bases:
            continue
        asked = ((model and model.name) or name).partition(":")[2]
        other = {one: calls for one, calls in account.answered.items() if one != asked}
        # A name without a date stands for one dated model; where two dated ones answered, that is worth a warning.
        if len(account.answered) > 1 or any(undated(one) != asked for one in other):
            counts = ", ".join(f"{one!r} ({calls} calls)" for one, calls in sorted(other.items()))
            out.append(f"warning: {asked!r} was asked, and {counts} answered")
        if account.lost:
            out.append(
                f"{name}: ${account.spent:.2f} spent in all, at most ${account.lost:.2f} of it on calls that brought "
                "no answer (timed out, or on the way when the run was killed)"
            )
        if model is None and account.spent:
            out.append(f"{name} graded for ${account.spent:.2f}, all rows of the run together; usd leaves that out")
    return out


def _costs(context: RunContext, scope: str, bench: RunBench) -> dict[str, float]:
    sums = context.journal.costs(scope)
    out = {f"{phase}_s": sums.get(("deploy", phase), {}).get("seconds", 0.0)
           for phase in ("generation", "update", "grading")}  # fmt: skip
    out["outer_s"] = sum(cost.get("seconds", 0.0) for (stage, _), cost in sums.items() if stage == "outer")
    out["edit_tokens"] = float(bench.edit_tokens())
    usd = [cost["usd"] for cost in sums.values() if "usd" in cost]
    if usd:
        out["usd"] = sum(usd)
    return out


def _write_scores(context: RunContext, name: str, method: str, seed: int, table: SeedTable) -> None:
    """Write one line per score, as it was yielded: the headline's to ``scores``, another table's to one below it."""
    lines = []
    for step, scores in table.scores.items():
        seen: Counter[tuple[str, str]] = Counter()
        for score in scores:
            line = {
                "method": method, "seed": seed, "episode": score.episode, "query": score.query,
                "sample": seen[score.episode, score.query], "value": score.value, "status": score.status,
                "answer": score.answers[0] if score.answers else None, "answers": list(score.answers),
                **({} if step is None else {"step": step}), **dict(score.measures),
            }  # fmt: skip
            seen[score.episode, score.query] += 1
            lines.append(line)
    place = "scores" if table.name == HEADLINE else f"scores/{table.name}"
    write_recorded(context.journal, context.folder, f"{place}/{name}.jsonl", _json_lines(lines))


def write_items(context: RunContext, name: str, episodes: Sequence[Episode], book: EpisodeBook) -> None:
    """Write a table's items with the accepted answers, so that answers can be read, and graded again, without the
    task's data. Call it when every row is finished, so that no running method finds them."""
    lines = [
        {
            "episode": one.id, "context": encode(one.context),
            "queries": [{"id": query.id, "text": query.text} for query in one.queries],
            "references": {query: list(accepted) for query, accepted in book.references([one.id])[one.id].items()},
        }
        for one in episodes
    ]  # fmt: skip
    write_recorded(context.journal, context.folder, f"items/{name}.jsonl", _json_lines(lines))


def _cost_lines(context: RunContext, scope: str) -> list[dict[str, Any]]:
    """The row's costs by stage and phase; what several rows used is counted in each."""
    return [
        {"kind": "cost", "stage": stage, "phase": phase, **{name: round(value, 6) for name, value in cost.items()}}
        for (stage, phase), cost in sorted(context.journal.costs(scope).items())
    ]


def _json_lines(lines: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _state(state: State) -> dict[str, Any]:
    return {"base": state.base, "adapters": list(state.adapters)}


def _name(context: RunContext, state: State) -> str:
    model = context.models[state.base]
    name = model.name or state.base
    return f"{name} + {len(state.adapters)} trained" if state.adapters else name
