"""From measured scores to the run's result file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.api import JSON, Episode, Score, State
from harness.books.records import digest
from harness.evidence.result_file import Card, ModelCard, ResultFile, Row, TaskItems, make_row
from harness.files import write_text
from harness.registry.build import BuiltComponent
from harness.runs import deploy
from harness.runs.config import Arm, Config
from harness.runs.edits_file import write_edits
from harness.runs.environment import describe_environment
from harness.session.context import RunContext
from harness.session.scope import Scope
from harness.session.service import SessionService
from harness.text import REPLACED, repaired, said


@dataclass(frozen=True)
class RoundRecord:
    """A checkpoint of an outer loop; index -1 is the start."""

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
    items: Sequence[Episode]
    values: Sequence[float | None]
    """One a query, in the items' order; the mean over samples."""
    letters: str
    rounds: Sequence[RoundRecord]
    chosen: int | None
    costs: Mapping[str, float]
    key: Mapping[str, Any]
    editor_model: str
    start_model: str
    remarks: Sequence[str] = ()
    """Notes on the row from this seed."""


def outcome(
    context: RunContext,
    arm: Arm,
    seed: int,
    session: SessionService,
    measured: deploy.Measured,
    rounds: Sequence[RoundRecord],
    chosen: int | None,
    meta_s: float,
) -> Outcome:
    """Write a row's edits, per-query scores and chosen policy to the run's folder, and sum up what it cost.

    Args:
        meta_s: seconds that the one-off training of its components took, before any run.
    """
    name = f"{arm.method.name}-{seed}"
    if measured.groups:
        write_edits(context.folder / "edits" / f"{name}.jsonl", measured.groups)
    full = [context.episodes.full(episode.id) for episode in measured.episodes]
    _write_scores(context, name, arm.method.name, seed, measured)
    values: list[float | None] = []
    letters = []
    for episode, samples in zip(full, measured.scores, strict=True):
        for index in range(len(episode.queries)):
            value, letter = _over_samples([scores[index] for scores in samples])
            values.append(value)
            letters.append(letter)
    teacher, student = session.roles["teacher"], session.roles["student"]
    context.journal.keep(session.scope.name, "deployed", {role: _state(session.roles[role]) for role in session.roles})
    model = context.models[student.base]
    evaluator = next(slot for slot in arm.slots.values() if slot["kind"] == "evaluator")
    start = "policy" if student.adapters else "model"
    key = {
        "task": session.task.name,
        "version": session.task.version,
        "items": digest([context.episodes.identity(e.id) for e in full])[:16],
        "metric": _metric(arm, session.task.metric),
        "evaluator": digest(dict(evaluator))[:16],
        "samples": measured_samples(measured),
        "base_model": student.base,
        "model_settings": digest(dict(getattr(model, "identity", {})))[:16],
        "start_model": start,
        "grouping": arm.grouping,
        "transductive": arm.method.transductive,
        "open_book": arm.method.open_book,
    }
    wrote = any(edit.actions for group in measured.groups for edit in group.edits)
    return Outcome(
        arm,
        seed,
        full,
        values,
        "".join(letters),
        rounds,
        chosen,
        {**_costs(context, session.scope.name, measured), "labels": float(len(session.labels)), "meta_s": meta_s},
        key,
        _name(context, teacher) if wrote else "",
        _name(context, student),
        [
            *_remarks(session.task, measured),
            *_reduced(context, session.scope.name),
            *_replaced(context, session.scope),
        ],
    )


def result_file(
    run: str, config: Config, task: BuiltComponent, context: RunContext, outcomes: Sequence[Outcome]
) -> ResultFile:
    """All rows of a run: one a method, over its seeds."""
    items = tuple((e.id, tuple(q.id for q in e.queries)) for e in outcomes[0].items)
    queries = sum(len(asked) for _, asked in items)
    rows = []
    for arm in config.arms:
        mine = [outcome for outcome in outcomes if outcome.arm is arm]
        rows.append(_row(arm, mine, queries))
    base = next(iter(context.models.values()))
    made = ResultFile(
        1,
        run,
        "measured",
        _command(config),
        TaskItems(
            task.instance.name, task.instance.version, "test", _metric(config.arms[0], task.instance.metric), items
        ),
        ModelCard(getattr(base, "name", base.base), base.base),
        context.journal.fact("environment") or describe_environment(),
        tuple(rows),
    )
    return repaired(made)[0]


def _command(config: Config) -> str:
    """The command that makes such a run; what a configuration file set is in the run's folder."""
    options = config.options
    words = ["harness run --plugin", options.method]
    words += ["--preset", options.preset] if options.preset and options.preset != config.model["use"] else []
    words += ["--seeds", str(options.seeds)] if options.seeds > 1 else []
    return " ".join(words)


def _metric(arm: Arm, own: str) -> str:
    """What a score is called: the evaluator's judge where it names one, else the task's own measure."""
    evaluator = next(slot for slot in arm.slots.values() if slot["kind"] == "evaluator")
    return str(evaluator.get("judge") or own)


def _row(arm: Arm, outcomes: Sequence[Outcome], queries: int) -> Row:
    first = outcomes[0]
    keys = {json.dumps(dict(outcome.key), sort_keys=True) for outcome in outcomes}
    notes = [] if len(keys) == 1 else ["its seeds deployed different start models"]
    said = [(outcome.seed, remark) for outcome in outcomes for remark in outcome.remarks]
    notes += [remark if len(outcomes) == 1 else f"seed {seed}: {remark}" for seed, remark in said]
    costs: dict[str, float | None] = {}
    for name in dict.fromkeys(name for outcome in outcomes for name in outcome.costs):
        digits = 6 if name == "usd" else 3
        costs[name] = round(sum(outcome.costs.get(name, 0.0) for outcome in outcomes), digits)
    return make_row(
        method=arm.method.name,
        plugin=arm.plugin,
        card=Card(
            arm.method.sees, arm.method.transductive, arm.method.open_book, arm.method.outside_teacher, arm.method.paper
        ),
        grouping=arm.grouping,
        editor_model=first.editor_model,
        start_model=first.start_model,
        key=first.key,
        seeds=tuple(outcome.seed for outcome in outcomes),
        scores=[outcome.values for outcome in outcomes],
        status=[outcome.letters for outcome in outcomes],
        queries=queries,
        costs=costs,
        curve=tuple(_curve(outcomes)),
        reliability=tuple(_reliability(outcomes)),
        notes=tuple(notes),
    )


def _remarks(task: Any, measured: deploy.Measured) -> list[str]:
    """What the editor said of edits that it deployed all the same, and what the task has to say of the scores."""
    edits = [edit for group in measured.groups for edit in group.edits]
    marked = [edit.reason for edit in edits if edit.status == "ok" and edit.reason]
    said = [f"{len(marked)} of {len(edits)} edits marked, the first: {marked[0]}"] if marked else []
    return [*said, *measured.remarks, *(task.remarks(measured.scores) if hasattr(task, "remarks") else [])]


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


def _reliability(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    return [
        {"seed": outcome.seed, "round": record.index + 1, **record.metrics["reliability"]}
        for outcome in outcomes
        for record in outcome.rounds
        if isinstance(record.metrics.get("reliability"), Mapping)
    ]


def _over_samples(scores: Sequence[Score]) -> tuple[float | None, str]:
    """The mean over a query's samples, and the letter that says what became of it."""
    if any(score.status == "error" for score in scores):
        return None, "e"
    if all(score.status == "failed" for score in scores):
        unparsed = all(str(score.parts.get("reason", "")).startswith("unparsed") for score in scores)
        return 0.0, "u" if unparsed else "f"
    value = sum(score.value or 0.0 for score in scores) / len(scores)
    return round(value, 6), "o"


def measured_samples(measured: deploy.Measured) -> int:
    """Edits a context that the scores average over."""
    return max((len(samples) for samples in measured.scores), default=0)


def _reduced(context: RunContext, scope: str) -> list[str]:
    """A remark where memory ran out on the way: smaller batches round differently."""
    times = sum(cost.get("reduced", 0.0) for cost in context.journal.costs(scope).values())
    return [f"batches shrunk for want of memory ({times:.0f} results)"] if times else []


def _replaced(context: RunContext, scope: Scope) -> list[str]:
    """Remarks on characters that could not be written."""
    inside = sum(cost.get(REPLACED, 0.0) for cost in context.journal.costs(scope.name).values())
    counts = {"the task's texts": context.episodes.replaced, "answers and edits": int(inside) + scope.replaced}
    return [said(count, where) for where, count in counts.items() if count]


def _costs(context: RunContext, scope: str, measured: deploy.Measured) -> dict[str, float]:
    sums = context.journal.costs(scope)
    out = {f"{phase}_s": sums.get(("deploy", phase), {}).get("seconds", 0.0)
           for phase in ("generation", "update", "grading")}  # fmt: skip
    out["outer_s"] = sum(cost.get("seconds", 0.0) for (stage, _), cost in sums.items() if stage == "outer")
    out["edit_tokens"] = float(measured.edit_tokens())
    usd = [cost["usd"] for cost in sums.values() if "usd" in cost]
    if usd:
        out["usd"] = sum(usd)
    return out


def _write_scores(context: RunContext, name: str, method: str, seed: int, measured: deploy.Measured) -> None:
    path = context.folder / "scores" / f"{name}.jsonl"
    path.parent.mkdir(exist_ok=True)
    lines = [
        {
            "method": method, "seed": seed, "episode": score.episode, "query": score.query,
            "sample": sample, "value": score.value, "status": score.status,
            "answer": score.answers[0] if score.answers else None, "answers": list(score.answers),
            **dict(score.parts),
        }
        for samples in measured.scores
        for sample, scores in enumerate(samples)
        for score in scores
    ]  # fmt: skip
    write_text(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def _state(state: State) -> dict[str, Any]:
    return {"base": state.base, "adapters": list(state.adapters)}


def _name(context: RunContext, state: State) -> str:
    model = context.models[state.base]
    name = str(getattr(model, "name", state.base))
    return f"{name} + {len(state.adapters)} trained" if state.adapters else name
