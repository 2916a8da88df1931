"""The sections of a run's page that are there without a script: table, costs, configuration, notes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from harness.escape import html
from harness.evidence.leaderboard.summary import Summary, differing_conditions
from harness.evidence.leaderboard.table import (
    RANK_NOTE,
    beside,
    interval,
    metrics,
    notes,
    ordered,
    rank,
    seconds,
    shown,
    total_seconds,
)
from harness.evidence.plots import Axis, bars
from harness.evidence.view.data import Shown
from harness.evidence.view.parts import chip, row_of, scrolling

_PHASES = ("generation", "update", "grading", "reward")


def scores_table(rows: Sequence[Shown], summaries: Mapping[str, Summary]) -> str:
    """The headline: one line per row, in blocks of what may be ranked together."""
    others = list(dict.fromkeys(name for row in rows for name in beside(row.run.found)))
    names = ["rank", "method", "score", "95% interval", "contexts/queries", "seeds", "failed", "unparsed", "errors",
             *(name.replace("\n", " ") for name in others), "cost"]  # fmt: skip
    head = "".join(f'<th scope="col">{html(name)}</th>' for name in names)
    by_label = {row.label: row for row in rows}
    labels = {id(one.row): label for label, one in summaries.items()}
    body = []
    for block in ordered(list(summaries.values())):
        inside = []
        for one in block:
            label = labels[id(one.row)]
            row = by_label[label]
            unit = row.run.found.task.unit
            cells = [
                html(rank(one)), chip(row), html(shown(one.score, unit)), html(interval(one.low, one.high, unit)),
                f"{one.contexts}/{one.queries}", str(one.seeds), str(one.row.failed), str(one.row.unparsed),
                str(one.row.errors),
                *(html(beside(row.run.found).get(name, {}).get(one.row.method, "–")) for name in others),
                html(seconds(total_seconds(one))),
            ]  # fmt: skip
            inside.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
        body.append(f"<tbody>{''.join(inside)}</tbody>")
    table = scrolling(f'<table class="scores"><thead><tr>{head}</tr></thead>{"".join(body)}</table>')
    return table + f"<p>{html(_first(RANK_NOTE))}.</p>"


def held_equal(rows: Sequence[Shown]) -> str:
    """What all rows share, and in what they differ: why some are not ranked together."""
    all_rows = [row_of(one) for one in rows]
    apart = differing_conditions(all_rows)
    first = all_rows[0].conditions
    found = rows[0].run.found
    said = {
        "task": f"{found.task.name} {found.task.version}, {found.task.split} split",
        "items": f"{found.task.queries} queries of {len(found.task.items)} contexts",
        "graded by": metrics(found),
        "base model": found.model.name,
        "protocol": str(first.get("protocol") or all_rows[0].protocol),
        "edits per context": str(first.get("samples", "–")),
        "start model": str(first.get("start_model", "–")),
    }
    own = {
        "graded by": "metric",
        "base model": "base_model",
        "start model": "start_model",
        "edits per context": "samples",
    }
    equal = {name: value for name, value in said.items() if own.get(name, name) not in apart}
    lines = "".join(f"<dt>{html(name)}</dt><dd>{html(value)}</dd>" for name, value in equal.items())
    differ = ", ".join(name.replace("_", " ") for name in apart)
    tail = f"<p>The rows differ in {html(differ)}; those that do are not ranked together.</p>" if differ else ""
    return f"<dl>{lines}</dl>{tail}"


def spending(rows: Sequence[Shown]) -> str:
    """Where time and money went, by stage and phase, averaged over seeds."""
    sums: dict[str, dict[tuple[str, str], tuple[float, float]]] = {}
    for row in rows:
        mine = sums.setdefault(row.label, {})
        for lines in row.run.rows[row.method].costs.values():
            for line in lines:
                key = (line["stage"], line["phase"])
                had = mine.get(key, (0.0, 0.0))
                mine[key] = (had[0] + line.get("seconds", 0.0), had[1] + (line.get("usd") or 0.0))
    keys = sorted({key for mine in sums.values() for key in mine}, key=lambda key: (key[0] != "outer", _phase(key[1])))
    if not keys:
        return "<p>This run kept no costs by stage and phase.</p>"
    seeds = {row.label: max(1, len(row_of(row).seeds)) for row in rows}
    parts = {
        f"{'outer loop' if stage == 'outer' else 'deployment'}: {phase}": [
            sums[row.label].get((stage, phase), (0.0, 0.0))[0] / seeds[row.label] for row in rows
        ]
        for stage, phase in keys
    }
    parts = {name: values for name, values in parts.items() if max(values) >= 0.01}
    figure = bars("spent", "Seconds per seed, by stage and phase. What several rows share is counted in each.",
                  Axis("seconds per seed"), [row.label for row in rows], parts) if parts else ""  # fmt: skip
    head = "".join(f'<th scope="col">{html(name)}</th>' for name in ("method", *parts, "money"))
    body = []
    for at, row in enumerate(rows):
        money = sum(usd for _, usd in sums[row.label].values())
        cells = [seconds(values[at]) if values[at] else "–" for values in parts.values()]
        inside = "".join(f"<td>{html(cell)}</td>" for cell in (*cells, f"${money:.2f}" if money else "–"))
        body.append(f"<tr><td>{chip(row)}</td>{inside}</tr>")
    table = scrolling(f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>")
    return f'<div class="plots">{figure}</div>{table}'


def _phase(name: str) -> tuple[int, str]:
    return (_PHASES.index(name) if name in _PHASES else len(_PHASES)), name


def configuration(rows: Sequence[Shown]) -> str:
    """The resolved configuration of each run, what its components were, and the machine."""
    out = []
    for run in {id(row.run): row.run for row in rows}.values():
        resolved = run.config.get("resolved", run.config)
        known = run.found.provenance
        versions = {**dict(known.distributions if known else {}), **_flat(run.found.environment)}
        lines = "".join(f"<dt>{html(name)}</dt><dd>{html(str(value))}</dd>" for name, value in versions.items())
        text = json.dumps(resolved, indent=2, ensure_ascii=False)
        out.append(
            f"<h3>{html(run.found.run)}</h3><p>Made by <code>{html(run.found.source)}</code></p>"
            f"<details open><summary>Resolved configuration</summary><pre>{html(text)}</pre></details>"
            f"<details><summary>Versions and machine</summary><dl>{lines}</dl></details>"
        )
    return "".join(out)


def _flat(value: Mapping[str, Any], under: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, one in value.items():
        path = f"{under}{name}"
        out |= _flat(one, f"{path}.") if isinstance(one, Mapping) else {path: one}
    return out


def warnings(rows: Sequence[Shown], summaries: Mapping[str, Summary]) -> str:
    """Everything that is to be known of single rows."""
    said = []
    for row in rows:
        text = notes(summaries[row.label])
        if text:
            listed = "".join(f"<li>{html(one)}</li>" for one in text.split("; "))
            said.append(f"<h3>{chip(row)}</h3><ul>{listed}</ul>")
    return "".join(said) or "<p>Nothing is to be said of any row.</p>"


def _first(text: str) -> str:
    return text[0].upper() + text[1:]
