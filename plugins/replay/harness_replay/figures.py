"""The figures of a published log, recomputed from its question rows, and the log as a result file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness import stats
from harness.errors import UsageError
from harness.evidence.leaderboard.summary import tables
from harness.evidence.result import SCHEMA, Average, Card, ModelCard, ResultFile, Row, TaskItems, make_row, single_table
from harness.judges.base import Answer, Grade, Judge
from harness_replay.logs import Log, Mark, Marks

RECORDED = "recorded"
RECORDED_METRIC = "recorded GPT-4.1 verdicts"
PAPER = "arXiv:2506.10943"


@dataclass(frozen=True)
class Graded:
    """A log under one judge: its result file, and its rows with and without the update."""

    log: Log
    judge: str
    result: ResultFile
    adapter: Row | None
    baseline: Row | None


def grade(log: Log, judge: Judge | None = None) -> Graded:
    """Grade both sides of a log (with and without the update); without a judge, by the verdicts recorded in it.

    Raises:
        UsageError: a judge is given, but the log holds verdicts without answers.
    """
    if judge is not None and log.layout == "abstraction":
        raise UsageError(f"{log.path}: records whether tasks were solved, not the answers: there is nothing to judge")
    task = _task(log, judge.name if judge else RECORDED)
    adapter = _row(log, log.adapter, log.name, task, judge)
    baseline = _row(log, log.baseline, f"{log.name} (no update)", task, judge)
    evaluator = judge.name if judge else RECORDED
    rows = tuple(row for row in (adapter, baseline) if row is not None)
    result = ResultFile(
        schema=SCHEMA,
        run=f"published-{log.name}" if judge is None else f"published-{log.name}-{judge.name.replace(':', '-')}",
        kind="published",
        source=f"{PAPER}, published log {log.path.name}, graded by {task.metric}",
        model=ModelCard(log.model or "not recorded"),
        environment={"settings": dict(log.settings), "stated": dict(log.stated)},
        tables=single_table(task, rows, evaluator),
    )
    return Graded(log, judge.name if judge else RECORDED, result, adapter, baseline)


def _task(log: Log, judge: str) -> TaskItems:
    grouped: dict[str, list[str]] = {}
    for one in log.asked:
        grouped.setdefault(one.context, []).append(one.id)
    average: Average = "macro" if log.protocol == "single" else "micro"
    metric = "tasks solved" if log.layout == "abstraction" else RECORDED_METRIC
    return TaskItems(
        name="arc" if log.layout == "abstraction" else "squad",
        version="seal-published",
        split=log.split,
        metric=metric if judge == RECORDED else judge,
        items=tuple((context, tuple(ids)) for context, ids in grouped.items()),
        average=average,
    )


def _row(log: Log, marks: Marks | None, method: str, task: TaskItems, judge: Judge | None) -> Row | None:
    if marks is None:
        return None
    values, statuses = _scores(log, marks, judge)
    return make_row(
        scores=values,
        status=statuses,
        queries=task.queries,
        method=method,
        plugin="replay",
        card=Card(paper=PAPER),
        protocol=log.protocol,
        editor_model="",
        start_model=log.model or "",
        conditions={
            "task": task.name,
            "version": task.version,
            "items": _digest(task.items),
            "metric": task.metric,
            "protocol": log.protocol,
            **vars(log.conditions),
            "transductive": False,
            "open_book": False,
        },
        seeds=tuple(range(len(marks))),
        notes=log.notes,
        reliability=_reliability(log, marks, judge),
    )


def _digest(items: Any) -> str:
    return hashlib.sha256(json.dumps(items).encode()).hexdigest()[:16]


def _scores(log: Log, marks: Marks, judge: Judge | None) -> tuple[list[list[float | None]], list[str]]:
    """Values and status letters: the mean over a question's candidates, per repetition; None without a verdict."""
    table = verdicts(log, marks, judge)
    values: list[list[float | None]] = []
    statuses: list[str] = []
    for repetition in table:
        cells = [_cell(cell) for cell in repetition]
        values.append([value for value, _ in cells])
        statuses.append("".join(letter for _, letter in cells))
    return values, statuses


def _cell(cell: Sequence[Grade]) -> tuple[float | None, str]:
    if not cell:
        return None, "-"
    for status, letter in (("error", "e"), ("unparsed", "u")):
        if any(one.status == status for one in cell):
            return None, letter
    return sum(one.value or 0.0 for one in cell) / len(cell), "o"


def verdicts(log: Log, marks: Marks, judge: Judge | None) -> list[list[list[Grade]]]:
    """``[repetition][question][candidate]`` grades; equal answers to a question are graded once."""
    if judge is None:
        return [[[Grade(float(mark.correct)) for mark in cell] for cell in repetition] for repetition in marks]
    wanted: dict[tuple[str, str, str], int] = {}

    def key(at: int, mark: Mark) -> tuple[str, str, str]:
        return log.asked[at].question, log.asked[at].gold, mark.text

    for repetition in marks:
        for at, cell in enumerate(repetition):
            for mark in cell:
                wanted.setdefault(key(at, mark), len(wanted))
    graded = judge.grade([Answer(question, (gold,), text) for question, gold, text in wanted])
    return [
        [[graded[wanted[key(at, mark)]] for mark in cell] for at, cell in enumerate(repetition)] for repetition in marks
    ]


def candidate_rewards(log: Log, marks: Marks, judge: Judge | None = None) -> list[list[list[float]]]:
    """``[context][candidate][repetition]``: each candidate's accuracy on its passage, as the outer loop saw it."""
    table = verdicts(log, marks, judge)
    owners: dict[str, list[int]] = {}
    for at, one in enumerate(log.asked):
        owners.setdefault(one.context, []).append(at)
    rewards = []
    for places in owners.values():
        count = min(len(repetition[at]) for repetition in table for at in places)
        rewards.append(
            [
                [_mean([repetition[at][candidate].value for at in places]) for repetition in table]
                for candidate in range(count)
            ]
        )
    return rewards


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else float("nan")


def _reliability(log: Log, marks: Marks, judge: Judge | None) -> tuple[dict[str, float], ...]:
    if len(marks) < 2 or log.protocol != "single":
        return ()
    found = stats.reliability(candidate_rewards(log, marks, judge))
    if found is None:
        return ()
    return ({"round": 0, "value": found.value, "low": found.interval.low, "high": found.interval.high},)


def summary(graded: Graded) -> dict[str, Any]:
    """The figures of a log as one JSON object. Accuracies are fractions, or null if nothing was measured."""
    log, task = graded.log, graded.result.task
    row = graded.adapter
    measured = row is not None and row.scored > 0
    interval = stats.mean_interval(tables(task, row)) if row is not None and measured else None
    return {
        "file": log.path.name,
        "kind": "published",
        "layout": log.layout,
        "protocol": log.protocol,
        "judge": graded.judge,
        "average": task.average,
        "macro": _figure(graded, row, "macro"),
        "micro": _figure(graded, row, "micro"),
        "baseline_macro": _figure(graded, graded.baseline, "macro"),
        "baseline_micro": _figure(graded, graded.baseline, "micro"),
        "n_contexts": sum(1 for _, queries in task.items if queries),
        "n_queries": task.queries,
        "seeds": len(row.seeds) if row else 0,
        "scored": row.scored if row else 0,
        "expected": row.expected if row else len(log.asked) or None,
        "correct": _correct(row),
        "ci95": [interval.low, interval.high] if interval else None,
        "reliability": dict(row.reliability[0]) if row and row.reliability else None,
        "start_model": log.model,
        "complete": log.complete and measured,
        "stated": {name: value for name, value in log.stated.items() if "accuracy" in name},
        **log.extra,
        "notes": list(log.notes),
    }


def _correct(row: Row | None) -> int | None:
    """The number of right answers, if every score is 0 or 1."""
    values = [value for one in row.scores for value in one if value is not None] if row else []
    return int(sum(values)) if values and set(values) <= {0.0, 1.0} else None


def _figure(graded: Graded, row: Row | None, average: Average) -> float | None:
    if row is None or row.scored == 0:
        return None
    return tables(graded.result.task, row, average).mean
