"""Stored answers, graded again by another judge: no model is asked, and the run stays as it is.

What is read is the run's own: the answers in ``scores/``, the questions and accepted answers in ``items/``. The result
is a folder of its own, which ``compare``, ``gate``, ``leaderboard show`` and ``view`` take like a run's.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.api import HEADLINE, Evaluator, Measure, Query, Score, Task
from harness.books.records import digest
from harness.errors import UsageError
from harness.evidence.result import ResultFile, Row, Table, make_row
from harness.evidence.result_file import check, dumps
from harness.evidence.sources import open_file
from harness.evidence.view.read import RunFiles, read_run
from harness.files import write_text
from harness.judges.base import Answer, Budget, Grade
from harness.judges.load import load
from harness.metrics import MEASURES
from harness.registry.build import BuiltComponent, build, compared
from harness.registry.discover import Plugins
from harness.runs import record as records
from harness.runs.measured import SeedTable, sample_status
from harness.runs.trust import check_trust


def rescore(run: Path, judge: str, to: Path | None = None, *, budget: Budget, trust: bool = False) -> Path:
    """Grade the headline's answers again; answers the folder that was written.

    Args:
        to: the folder to write; by default ``rescored/<judge>`` in the run's.
        budget: what a judge that costs money may spend, and where its verdicts are kept.
        trust: run the plugin files that a run made elsewhere names.

    Raises:
        UsageError: no such run or judge, a row was not graded by a judge of free text, the run kept no questions, or
            ``to`` exists.
        Interrupted: the run has not finished.
    """
    grader = load(judge, budget)
    record = records.read(run)
    check_trust(run, record, trust)
    to = to or run / "rescored" / _slug(judge)
    if to.exists():
        raise UsageError(f"{to} exists; name another folder with --out, or remove it")
    files = read_run(run)
    items = {query["id"]: (line, query) for line in files.items.get(HEADLINE, ()) for query in line["queries"]}
    if not items:
        raise UsageError(f"{run} was made before questions were kept with a run; `harness resume {run}` adds them")
    plugins = Plugins(tuple(Path(file) for file in record["plugin_files"]))
    task = build(plugins, Task, record["resolved"]["task"], "task").instance
    table = files.found.head
    if table.steps:
        raise UsageError(f"{run}: its headline has steps; only tables without steps are graded again")
    rows, lines = [], {}
    for row in table.rows:
        evaluator = _evaluator(plugins, record["resolved"]["arms"][row.method], row.method, judge)
        graded = [_graded(files, row, seed, items, task, grader) for seed in row.seeds]
        for seed, scores in zip(row.seeds, graded, strict=True):
            lines[f"{row.method}-{seed}"] = [_line(row.method, seed, one) for one in scores]
        rows.append(_row(table, row, graded, judge, digest(compared(evaluator))[:16]))
    made = _file(files.found, table, rows, run, judge)
    to.mkdir(parents=True)
    shutil.copy(run / records.NAME, to / records.NAME)
    for name in ("items", "edits", "history"):
        if (run / name).is_dir():
            shutil.copytree(run / name, to / name)
    for name, scored in lines.items():
        (to / "scores").mkdir(exist_ok=True)
        text = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in scored)
        write_text(to / "scores" / f"{name}.jsonl", text)
    write_text(to / "result.json", dumps(check(made, str(to / "result.json"))))
    open_file(to)
    return to


def _evaluator(plugins: Plugins, arm: Mapping[str, Any], method: str, judge: str) -> BuiltComponent[Evaluator]:
    """The row's evaluator as it would have been with that judge, so that the row can be held against such rows."""
    table = {name: value for name, value in arm["evaluator"].items() if name != "kind"}
    if "judge" not in build(plugins, Evaluator, table, "evaluator").settings:
        raise UsageError(
            f"method {method!r} was graded by the evaluator {table.get('use')!r}, which takes no judge: its answers "
            "are no free text"
        )
    return build(plugins, Evaluator, {**table, "judge": judge}, "evaluator")


def _graded(
    files: RunFiles, row: Row, seed: int, items: Mapping[str, tuple[Any, Any]], task: Task, grader: Any
) -> list[Score]:
    lines = [one for one in files.scores[HEADLINE] if one["method"] == row.method and one["seed"] == seed]
    asked: list[Answer] = []
    places: list[list[int | None]] = []
    for line in lines:
        item, query = items[line["query"]]
        golds = tuple(item["references"].get(query["id"], ()))
        mine: list[int | None] = []
        for text in line.get("answers", ()) if line["status"] != "failed" else ():
            said = task.extract(Query(query["id"], query["text"]), text) or ""
            mine.append(len(asked) if golds else None)
            if golds:
                asked.append(Answer(query["text"], golds, said))
        places.append(mine)
    verdicts = grader.grade(asked)
    return [
        _score(line, [None if at is None else (asked[at], verdicts[at]) for at in mine])
        for line, mine in zip(lines, places, strict=True)
    ]


def _score(line: Mapping[str, Any], graded: Sequence[tuple[Answer, Grade] | None]) -> Score:
    """A line's score by the new verdicts; what had no answer stays what it was."""
    answers = tuple(line.get("answers", ()))
    known = [one for one in graded if one is not None]
    if not known or len(known) < len(graded):
        reason = {"reason": line["reason"]} if line.get("reason") else {}
        return Score(line["episode"], line["query"], line["value"], line["status"], answers, reason)
    for _, verdict in known:
        if verdict.value is None:
            reason = {"reason": f"judge: {verdict.reason or verdict.status}"}
            return Score(line["episode"], line["query"], None, "error", answers, reason)
    measures = {
        name: sum(measure(answer.text, answer.golds) if answer.text else 0.0 for answer, _ in known) / len(known)
        for name, measure in MEASURES.items()
    }
    value = sum(verdict.value or 0.0 for _, verdict in known) / len(known)
    return Score(line["episode"], line["query"], value, "ok", answers, measures)


def _row(table: Table, row: Row, graded: Sequence[Sequence[Score]], judge: str, evaluator: str) -> Row:
    measure = Measure(table.task.name, table.task.version, table.evaluator, judge)
    contexts = dict(table.task.items)
    seeds = [SeedTable(HEADLINE, measure, "", contexts, {None: list(scores)}) for scores in graded]
    ids = [query for _, queries in table.task.items for query in queries]
    cells = [one.cells(None) for one in seeds]
    columns = [[found.get(query, (None, "-")) for query in ids] for found in cells]
    before = row.conditions.get("metric") or table.task.metric
    rest = {one.name: getattr(row, one.name) for one in dataclasses.fields(Row) if one.name not in _COUNTED}
    changed = {
        "conditions": {**row.conditions, "metric": judge, "evaluator": evaluator},
        "samples": sample_status(seeds, ids, None),
        "notes": (*row.notes, f"its stored answers were graded again by {judge}; the run was graded by {before}"),
    }
    return make_row(
        scores=[[value for value, _ in column] for column in columns],
        status=["".join(letter for _, letter in column) for column in columns],
        queries=len(ids),
        **{**rest, **changed},
    )


_COUNTED = frozenset({"scores", "status", "expected", "scored", "failed", "unparsed", "errors"})


def _file(found: ResultFile, table: Table, rows: Sequence[Row], run: Path, judge: str) -> ResultFile:
    """The result file: the headline alone, under a name of its own, without what it no longer was made with."""
    return dataclasses.replace(
        found,
        run=f"{found.run}-{_slug(judge)}",
        source=f"harness rescore {shlex.quote(str(run))} --judge {shlex.quote(judge)}",
        tables=(dataclasses.replace(table, rows=tuple(rows)),),
        provenance=None,
    )


def _line(method: str, seed: int, score: Score) -> dict[str, Any]:
    return {
        "method": method, "seed": seed, "episode": score.episode, "query": score.query, "sample": 0,
        "value": score.value, "status": score.status, "answer": score.answers[0] if score.answers else None,
        "answers": list(score.answers), **dict(score.measures),
    }  # fmt: skip


def _slug(judge: str) -> str:
    return re.sub(r"[^\w.-]+", "-", judge)


def changed(before: ResultFile, after: ResultFile) -> Iterator[str]:
    """One phrase per row whose mark changed on some queries: how many went up, and how many down."""
    for old, new in zip(before.rows, after.rows, strict=True):
        pairs = [
            (a, b)
            for was, now in zip(old.scores, new.scores, strict=True)
            for a, b in zip(was, now, strict=True)
            if a is not None and b is not None
        ]
        up, down = sum(b > a for a, b in pairs), sum(b < a for a, b in pairs)
        if up or down:
            yield f"{new.method}: {up} of {len(pairs)} marks up, {down} down"
