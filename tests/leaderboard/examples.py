"""Result files for tests, made from a seeded generator: 20 contexts with 3 queries each."""

from __future__ import annotations

import random
from collections.abc import Sequence

from harness.evidence.result import Card, ModelCard, ResultFile, Row, TaskItems, make_row, single_table

CONTEXTS, PER_CONTEXT = 20, 3


def items(contexts: int = CONTEXTS, per_context: int = PER_CONTEXT) -> TaskItems:
    return TaskItems(
        name="facts",
        version="1",
        split="test",
        metric="exact",
        items=tuple((f"c{c}", tuple(f"c{c}/q{q}" for q in range(per_context))) for c in range(contexts)),
    )


def row(
    method: str, chance: float, *, task: TaskItems, seeds: Sequence[int] = (0, 1, 2, 3, 4), draw: int = 0, **more: str
) -> Row:
    """A row whose every score is 1 with probability ``chance``; ``more`` are further conditions."""
    rng = random.Random(f"{method}/{draw}")
    scores = [[float(rng.random() < chance) for _ in range(task.queries)] for _ in seeds]
    return make_row(
        scores=scores,
        status=["o" * task.queries for _ in seeds],
        queries=task.queries,
        method=method,
        plugin=method.split("/")[0],
        card=Card(),
        protocol="single",
        editor_model="lab",
        start_model="lab",
        conditions={
            "task": task.name,
            "version": task.version,
            "items": "i",
            "metric": task.metric,
            "base_model": "lab",
            **more,
        },
        seeds=tuple(seeds),
        costs={"generation_s": 3.0, "update_s": 240.0, "edit_tokens": 1200},
        curve=({"round": 0, "validation": 0.2}, {"round": 1, "validation": 0.3}),
    )


def result_file(rows: Sequence[Row] | None = None, *, run: str = "run-1", task: TaskItems | None = None) -> ResultFile:
    task = task or items()
    return ResultFile(
        schema=2,
        run=run,
        kind="measured",
        source="harness run --plugin facts",
        model=ModelCard("lab", "sha256:0"),
        environment={"python": "3.12", "commit": "0000000"},
        tables=single_table(
            task,
            rows if rows is not None else (row("none", 0.1, task=task), row("seal", 0.6, task=task)),
            "closed-book",
        ),
    )
