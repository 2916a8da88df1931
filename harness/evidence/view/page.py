"""One self-contained page of one or more runs: no server, no network, nothing beside the file."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections import Counter
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from harness.escape import html
from harness.evidence import colours, plots
from harness.evidence.leaderboard.summary import summarise
from harness.evidence.strengths import settings, told_apart
from harness.evidence.view import figures, loops, sections
from harness.evidence.view.data import LEVELS, Shown, page_data
from harness.evidence.view.read import RunFiles, read_run

MOST = 5_000_000
"""Bytes that a page may have; texts are shortened until it fits, and the page says so."""


def write_page(runs: Sequence[Path], to: Path, *, references: bool = True) -> int:
    """Write the page of some runs; answers its size in bytes.

    Raises:
        UsageError: one is no finished run's folder, or is damaged.
    """
    from harness.files import write_text

    text = page([read_run(one) for one in runs], references=references)
    write_text(to, text)
    return len(text.encode())


def page(runs: Sequence[RunFiles], *, references: bool = True) -> str:
    """The page's text."""
    rows = _rows(runs)
    summaries = {row.label: one for row in rows for one in summarise(row.run.found) if one.row.method == row.method}
    title = ", ".join(run.found.run for run in runs)
    kinds = "".join(
        f'<p class="source"><b>{html(run.found.run)}</b> <code>{html(run.found.source)}</code></p>' for run in runs
    )
    parts = {
        "title": html(title),
        "style": f"{colours.css()}\n{plots.STYLE}",
        "runs": kinds,
        "table": sections.scores_table(rows, summaries),
        "equal": sections.held_equal(rows),
        "plots": figures.plots(rows, summaries),
        "loops": loops.outer_loops(rows) or "<p>No method of this run has an outer loop.</p>",
        "costs": sections.spending(rows),
        "configuration": sections.configuration(rows),
        "notes": sections.warnings(rows, summaries),
        "shortened": "",
        "data": "",
    }
    template = resources.files("harness.evidence.view").joinpath("page.html").read_text(encoding="utf-8")
    room = MOST - sum(len(part.encode()) for part in parts.values()) - len(template.encode()) - 1000
    parts["data"], whole = _fitted(rows, room, references=references)
    if not whole:
        parts["shortened"] = (
            "<p>Long texts are shortened on this page, and some training sequences left out, so that it stays below "
            f"{MOST // 1_000_000} MB; the run's folder has all of them.</p>"
        )
    return re.sub(r"{{(\w+)}}", lambda place: parts[place.group(1)], template)


def _rows(runs: Sequence[RunFiles]) -> list[Shown]:
    """Every method of every run; where two runs have the same one, its name says in what they differ, or else which
    run it is of."""
    named = [(run, row) for run in runs for row in run.found.rows]
    of = colours.places(row.method for _, row in named)
    alike: dict[str, list[int]] = {}
    for place, (_, row) in enumerate(named):
        alike.setdefault(row.method, []).append(place)
    said: dict[int, str] = {}
    for places in alike.values():
        apart = told_apart([settings(named[place][0].found, named[place][1]) for place in places])
        said |= {place: one or named[place][0].found.run for place, one in zip(places, apart, strict=True)}
    labels: Counter[str] = Counter()
    rows = []
    for place, (run, row) in enumerate(named):
        label = row.method if len(alike[row.method]) == 1 else f"{row.method} ({said[place]})"
        labels[label] += 1
        label = label if labels[label] == 1 else f"{label} {labels[label]}"
        rows.append(Shown(label, run, row.method, of[row.method]))
    return rows


def _fitted(rows: Sequence[Shown], room: int, *, references: bool) -> tuple[str, bool]:
    """As much of the data as there is room for, and whether it is all of it."""
    ratio = 0.0
    for at, limits in enumerate(LEVELS):
        text = json.dumps(page_data(rows, limits, references=references), ensure_ascii=False, separators=(",", ":"))
        raw = text.encode("utf-8", "replace")
        if at < len(LEVELS) - 1 and ratio * len(raw) > 1.1 * room:
            continue  # packing takes seconds, and the last level says how much it comes to
        packed = _packed(raw)
        ratio = len(packed) / len(raw)
        if len(packed) <= room:
            break
    return packed, at == 0


def _packed(raw: bytes) -> str:
    """Compressed, and in letters that mean nothing to HTML; the same bytes give the same text."""
    return base64.b64encode(gzip.compress(raw, 6, mtime=0)).decode()
