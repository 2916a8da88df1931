"""The leaderboard's renderings: JSON, CSV, Markdown, and one HTML page that needs nothing but a browser."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
from collections.abc import Sequence
from importlib import resources
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
HEADERS = (
    "rank", "method", "group", "score", "95% interval", "contexts", "queries", "seeds", "scored/expected", "failed",
    "unparsed", "errors", "edit tokens", "update", "generation", "outer loop", "meta-training", "money", "labels",
    "outside teacher", "open-book", "editor", "start", "run", "notes",
)  # fmt: skip


def renderings(folder: str | Path, paths: Sequence[Path] | None = None) -> dict[str, str]:
    """File name -> text of every rendering of a folder's result files, or of those given."""
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


def cells(line: Line, unit: str = "") -> list[str]:
    """One row as texts, parallel to :data:`HEADERS`."""
    return [
        span(line.rank, line.rank_high),
        line.method,
        line.group or "–",
        shown(line.score, unit),
        interval(line.low, line.high, unit),
        _count(line.contexts),
        _count(line.queries),
        _count(line.seeds),
        f"{line.scored}/{line.expected}" if line.expected else "–",
        str(line.failed) if line.expected else "–",
        str(line.unparsed) if line.expected else "–",
        str(line.errors) if line.expected else "–",
        "–" if line.edit_tokens is None else f"{line.edit_tokens:.0f}",
        seconds(line.update_s),
        seconds(line.generation_s),
        seconds(line.outer_s),
        seconds(line.meta_s),
        "–" if line.usd is None else f"${line.usd:.2f}",
        "–" if line.labels is None else f"{line.labels:.0f}",
        "yes" if line.outside_teacher else "no",
        "yes" if line.open_book else "no",
        line.editor_model or "–",
        line.start_model or "–",
        line.run,
        "; ".join([*line.notes, *_folded(line), *([f"paper {line.paper}"] if line.paper else [])]) or "–",
    ]


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
            out += ["| " + " | ".join(HEADERS) + " |", "|" + "---|" * len(HEADERS)]
            out += [
                "| " + " | ".join(escape.markdown(text) for text in cells(line, section.unit)) + " |"
                for line in section.lines
            ]
            out += [""]
    return "\n".join(out)


def to_html(made: Sequence[Section]) -> str:
    """One page with the tables as HTML and the data of its plots as JSON."""
    page = resources.files("harness.evidence.leaderboard").joinpath("page.html").read_text(encoding="utf-8")
    data = json.dumps(as_json(made), ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    tables = "\n".join(_html_section(index, one) for index, one in enumerate(made))
    parts = {"ranks": escape.html(RANKS), "sections": tables, "data": data}
    return re.sub(r"{{(\w+)}}", lambda place: parts[place.group(1)], page)


def _html_section(index: int, section: Section) -> str:
    head = "".join(f'<th scope="col"><button type="button">{escape.html(name)}</button></th>' for name in HEADERS)
    rows = "\n".join(_html_row(line, section.unit) for line in section.lines)
    return (
        f'<section data-index="{index}" data-kind="{section.kind}"><h2>{escape.html(section.title)} '
        f'<small class="{section.kind}">{section.kind}</small></h2><p>Source: {escape.html(section.source)}.</p>'
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table></div>'
        f'<div class="plots"></div></section>'
    )


def _html_row(line: Line, unit: str) -> str:
    sortable = [
        line.rank, None, None, line.score, line.low, line.contexts, line.queries, line.seeds, line.scored, line.failed,
        line.unparsed, line.errors, line.edit_tokens, line.update_s, line.generation_s, line.outer_s, line.meta_s,
        line.usd, line.labels,
    ]  # fmt: skip
    out = []
    for place, text in enumerate(cells(line, unit)):
        value = sortable[place] if place < len(sortable) else None
        order = f' data-value="{value}"' if value is not None else ""
        out.append(f"<td{order}>{escape.html(text)}</td>")
    return "<tr>" + "".join(out) + "</tr>"
