"""Runs' folders to look at: one of a scripted model, made hostile, and one with very many queries."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from harness.evidence.result import ResultFile
from harness.evidence.result_file import write
from tests.leaderboard.examples import items, result_file, row

_BREAK = "document.body.dataset.broken='yes'"
HOSTILE = f'</script><script>{_BREAK}</script><img src=x onerror="{_BREAK}">'


def write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def large(folder: Path, *, contexts: int = 500, per_context: int = 4, methods: int = 6, seeds: int = 3) -> Path:
    """A run as the core writes it: passages of 900 characters, edits of as many, 6 methods, 3 seeds."""
    run = folder / "large"
    task = items(contexts=contexts, per_context=per_context)
    names = [f"method-{at}" for at in range(methods)]
    rows = [row(name, (at + 1) / (methods + 1), task=task, seeds=range(seeds)) for at, name in enumerate(names)]
    found: ResultFile = result_file(rows, run="large", task=task)
    write(found, run / "result.json")
    (run / "config.json").write_text(json.dumps({"resolved": {"method": "method-0"}}))
    words = [f"{a}{b}" for a in "bdfgklmnprst" for b in ("an", "el", "or", "is", "ut", "ame")]
    rng = random.Random(0)

    def text(size: int) -> str:
        return " ".join(rng.choices(words, k=size))

    asked = [
        {"episode": context, "context": {"title": context, "text": text(180)},
         "queries": [{"id": query, "text": text(8)} for query in queries],
         "references": {query: [text(2)] for query in queries}}
        for context, queries in task.items
    ]  # fmt: skip
    write_lines(run / "items" / "score.jsonl", asked)
    for one in rows:
        for place, seed in enumerate(one.seeds):
            values = iter(one.scores[place])
            scores, edits, history = [], [], []
            for context, queries in task.items:
                for query in queries:
                    scores.append({"method": one.method, "seed": seed, "episode": context, "query": query, "sample": 0,
                                   "value": next(values), "status": "ok", "answer": text(3),
                                   "contains": 0.0})  # fmt: skip
                written = [text(14) for _ in range(10)]
                edits.append({"episode": context, "context": {}, "texts": [["\n".join(written)]],
                              "edits": [{"id": f"{context}/0", "data": [], "settings": {}}]})  # fmt: skip
                losses = [round(rng.random(), 4) for _ in range(45)]
                history.append({"kind": "update", "job": f"test/{context}/0", "start_as": "stack", "settings": {},
                                "log": {"steps": 45, "losses": losses, "loss": losses[-1]},
                                "edits": [{"edit": f"{context}/0", "episode": context, "count": len(written),
                                           "sequences": [["", line, 1.0] for line in written]}]})  # fmt: skip
            write_lines(run / "scores" / f"{one.method}-{seed}.jsonl", scores)
            write_lines(run / "edits" / f"{one.method}-{seed}.jsonl", edits)
            write_lines(run / "history" / f"{one.method}-{seed}.jsonl", history)
    return run
