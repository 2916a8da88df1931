"""The leaderboard's renderings: JSON, CSV, Markdown, and one HTML page that needs nothing but a browser."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import escape
from harness.evidence.leaderboard.board import Line, Section, as_json, build
from harness.evidence.leaderboard.table import interval, percent, seconds, shown, span
from harness.evidence.result_file import result_paths
from harness.files import write_text

COMMAND = "harness leaderboard build"
RANKS = (
    "rank: the ranks that a row may have, from 1 + the rows of its group that are better beyond noise to the number of "
    "rows less those that are worse; all ranks of a group hold at once in 95% of boards (crossed effects of contexts "
    "and seeds, paired by context). Rows are listed by the better end. A group is what may be compared: equal task "
    "version, items, metric, models, decoding and openness; groups are never ranked against each other. Rows of one "
    "seed (seeds with identical scores count as one), of fewer than 8 contexts, with missing scores, or known only "
    "from a paper have no rank. A method that was run again on the same model under the same conditions has one "
    "row, of its newest run that may be ranked; earlier runs are named in its notes. Costs are means over seeds; "
    "meta-training is paid once, before any run."
)
FOLDED = 3
"""Earlier runs that a table names before it counts the rest; JSON and CSV name all."""


@dataclass(frozen=True)
class Column:
    """What every row shows under one header."""

    name: str
    text: Callable[[Line, str], str]
    """Of a row and its section's unit."""
    value: Callable[[Line], float | None] = lambda line: None
    """What rows are sorted by; by the text where that is None in all."""


def _of_expected(value: Callable[[Line], int]) -> Callable[[Line, str], str]:
    return lambda line, unit: str(value(line)) if line.expected else "–"


COLUMNS = (
    Column("rank", lambda line, _: span(line.rank, line.rank_high), lambda line: line.rank),
    Column("method", lambda line, _: line.method),
    Column("score", lambda line, unit: shown(line.score, unit), lambda line: line.score),
    Column("95% interval", lambda line, unit: interval(line.low, line.high, unit), lambda line: line.low),
    Column("contexts", lambda line, _: _count(line.contexts), lambda line: line.contexts),
    Column("seeds", lambda line, _: _count(line.seeds), lambda line: line.seeds),
    Column("cost", lambda line, _: seconds(cost(line)), lambda line: cost(line)),
    Column("notes", lambda line, _: "; ".join(said) if (said := _notes(line)) else "–"),
    Column("queries", lambda line, _: _count(line.queries), lambda line: line.queries),
    Column("scored/expected", lambda line, _: f"{line.scored}/{line.expected}" if line.expected else "–",
           lambda line: line.scored),
    Column("failed", _of_expected(lambda line: line.failed), lambda line: line.failed),
    Column("unparsed", _of_expected(lambda line: line.unparsed), lambda line: line.unparsed),
    Column("errors", _of_expected(lambda line: line.errors), lambda line: line.errors),
    Column("edit tokens", lambda line, _: "–" if line.edit_tokens is None else f"{line.edit_tokens:.0f}",
           lambda line: line.edit_tokens),
    Column("update", lambda line, _: seconds(line.update_s), lambda line: line.update_s),
    Column("generation", lambda line, _: seconds(line.generation_s), lambda line: line.generation_s),
    Column("outer loop", lambda line, _: seconds(line.outer_s), lambda line: line.outer_s),
    Column("meta-training", lambda line, _: seconds(line.meta_s), lambda line: line.meta_s),
    Column("money", lambda line, _: "–" if line.usd is None else f"${line.usd:.2f}", lambda line: line.usd),
    Column("labels", lambda line, _: "–" if line.labels is None else f"{line.labels:.0f}", lambda line: line.labels),
    Column("outside teacher", lambda line, _: "yes" if line.outside_teacher else "no"),
    Column("open-book", lambda line, _: "yes" if line.open_book else "no"),
    Column("editor", lambda line, _: line.editor_model or "–"),
    Column("start", lambda line, _: line.start_model or "–"),
    Column("run", lambda line, _: line.run),
)  # fmt: skip
FIRST = 8
"""Columns that a page shows at once; the others come with its control "All columns"."""
HEADERS = tuple(column.name for column in COLUMNS)
IN_MARKDOWN = ("rank", "method", "score", "95% interval", "contexts", "seeds", "scored/expected", "cost", "notes")


def renderings(folder: str | Path, paths: Sequence[Path] | None = None) -> dict[str, str]:
    """File name -> text of every rendering of a folder's result files, or of those given."""
    from harness.evidence.leaderboard.page import to_html

    made = build(folder, paths)
    return {
        "leaderboard.json": json.dumps(as_json(made), indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        "leaderboard.csv": to_csv(made),
        "leaderboard.md": to_markdown(made),
        "leaderboard.html": to_html(made),
    }


def write_all(folder: str | Path) -> list[Path]:
    """Write every rendering beside the result files' folders."""
    return [write_text(Path(folder) / name, text) for name, text in renderings(folder).items()]


def stale(folder: str | Path, paths: Sequence[Path] | None = None) -> list[str]:
    """Names of renderings that are absent or differ from what the result files give."""
    out = []
    for name, text in renderings(folder, paths).items():
        path = Path(folder) / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            out.append(name)
    return out


def under_version_control(folder: str | Path) -> list[Path] | None:
    """The folder's result files that git tracks; None where it tracks none of them, or there is no git.

    A run inside a checkout files its result beside the shipped ones; files that nobody committed make nothing stale.
    """
    command = ["git", "-C", str(folder), "ls-files", "-z", "--", "*.json"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    names = set(done.stdout.decode("utf-8", "surrogateescape").split("\0")) if done.returncode == 0 else set()
    tracked = [path for path in result_paths(folder) if path.relative_to(folder).as_posix() in names]
    return tracked or None


def cells(line: Line, unit: str = "", names: Sequence[str] = HEADERS) -> list[str]:
    """One row as texts, parallel to ``names``."""
    by_name = {column.name: column for column in COLUMNS}
    return [by_name[name].text(line, unit) for name in names]


def cost(line: Line) -> float | None:
    """Seconds per seed over all phases, without one-off training; None where nothing was measured."""
    known = [one for one in (line.generation_s, line.update_s, line.grading_s, line.outer_s) if one is not None]
    return sum(known) if known else None


def _notes(line: Line) -> list[str]:
    return [*line.notes, *_folded(line), *([f"paper {line.paper}"] if line.paper else [])]


def _folded(line: Line) -> list[str]:
    if not line.folded:
        return []
    said = [f"{one.run} {percent(one.score)}" for one in line.folded[:FOLDED]]
    more = len(line.folded) - len(said)
    count = f"{len(line.folded)} other run{'' if len(line.folded) == 1 else 's'}, not ranked"
    return [f"{count}: {', '.join([*said, *([f'and {more} more'] if more else [])])}"]


def _count(value: int) -> str:
    return str(value) if value else "–"


def to_csv(made: Sequence[Section]) -> str:
    """One table of all sections: unrounded fractions, empty where not measured."""
    stream = io.StringIO()
    plain = [name for name in Line.__dataclass_fields__ if name not in ("curve", "reliability")]
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["kind", "section", *plain])
    for section in as_json(made):
        for line in section["lines"]:
            values = [line[name] for name in plain]
            row = [section["kind"], section["title"], *map(_flat, values)]
            writer.writerow([escape.csv_cell(value) if isinstance(value, str) else value for value in row])
    return stream.getvalue()


def _flat(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    return "; ".join(" ".join(map(str, one.values())) if isinstance(one, dict) else str(one) for one in value)


def to_markdown(made: Sequence[Section]) -> str:
    """All sections, measured apart from published."""
    out = [f"<!-- made by `{COMMAND}`; do not edit -->", "# Leaderboards", "", RANKS, ""]
    for kind, words in (
        ("measured", "Measured"),
        ("published", "Published: figures from papers and their logs, for reference"),
    ):
        inside = [one for one in made if one.kind == kind]
        if inside:
            out += [f"## {words}", ""]
        for section in inside:
            out += [f"### {escape.markdown(section.title)}", ""]
            out += [f"Source: {escape.markdown(section.source)}.", ""]
            for words, lines in section.groups.items():
                if words:
                    out += [f"**{escape.markdown(_first(words))}**", ""]
                out += ["| " + " | ".join(IN_MARKDOWN) + " |", "|" + "---|" * len(IN_MARKDOWN)]
                out += [
                    "| " + " | ".join(escape.markdown(text) for text in cells(line, section.unit, IN_MARKDOWN)) + " |"
                    for line in lines
                ]
                out += [""]
    return "\n".join(out)


def _first(text: str) -> str:
    return text[:1].upper() + text[1:]
