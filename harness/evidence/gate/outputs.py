"""The reports that a gate always writes: ``gate.json``, JUnit XML, and a Markdown summary."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from harness import escape
from harness.evidence.gate.verdict import Check, Gate
from harness.files import write_text

SHOWN = 20
"""Changed queries that a report names before it counts the rest; ``gate.json`` names all."""


def write_all(gate: Gate, *, result: Path, junit: Path, summary: Path, strict: bool = False) -> None:
    """Write the three reports, each whole or not at all."""
    for path, text in ((result, to_json(gate, strict)), (junit, to_junit(gate)), (summary, to_markdown(gate))):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)


def to_json(gate: Gate, strict: bool = False) -> str:
    """All of the gate as JSON; the verdict is a field, so that a wrapper need not rely on the exit code."""
    raw: dict[str, Any] = {
        "verdict": gate.verdict,
        "exit_code": gate.exit_code(strict=strict),
        "benchmark": gate.benchmark,
        "margin": gate.margin,
        "baseline": gate.baseline,
        "run": gate.run,
        "notes": list(gate.notes),
        "checks": [asdict(check) for check in gate.checks],
    }
    return json.dumps(raw, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def to_junit(gate: Gate) -> str:
    """One suite per benchmark, one case per row: ``regressed`` is a failure, ``error`` and ``incomparable`` are errors,
    ``inconclusive`` is skipped.

    Follows the common JUnit schema (suite properties first, then cases, then the two output elements).
    """
    counts = [check.verdict for check in gate.checks]
    root = ElementTree.Element("testsuites")
    suite = ElementTree.SubElement(
        root,
        "testsuite",
        {
            "id": "0",
            "name": escape.xml(gate.benchmark),
            "package": "harness.gate",
            "hostname": "localhost",
            "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
            "tests": str(len(counts)),
            "failures": str(counts.count("regressed")),
            "errors": str(sum(one in ("error", "incomparable") for one in counts)),
            "skipped": str(counts.count("inconclusive")),
            "time": "0",
        },
    )
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in _properties(gate):
        ElementTree.SubElement(properties, "property", {"name": name, "value": escape.xml(value)})
    for check in gate.checks:
        case = ElementTree.SubElement(
            suite, "testcase", {"classname": escape.xml(gate.benchmark), "name": escape.xml(check.method), "time": "0"}
        )
        said = {"message": escape.xml(check.reason), "type": check.verdict}
        if check.verdict == "regressed":
            ElementTree.SubElement(case, "failure", said).text = escape.xml("\n".join(_changed(check)))
        elif check.verdict in ("error", "incomparable"):
            ElementTree.SubElement(case, "error", said)
        elif check.verdict == "inconclusive":
            ElementTree.SubElement(case, "skipped")
    ElementTree.SubElement(suite, "system-out").text = escape.xml("\n".join(_said(check) for check in gate.checks))
    ElementTree.SubElement(suite, "system-err").text = escape.xml("\n".join(gate.notes))
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _properties(gate: Gate) -> list[tuple[str, str]]:
    out = [("verdict", gate.verdict), ("margin", f"{gate.margin:g}")]
    for check in gate.checks:
        low, high = check.ci90 or (None, None)
        values = {
            "verdict": check.verdict, "difference": check.difference, "ci90_low": low, "ci90_high": high,
            "p": check.p, "n_contexts": check.n_contexts, "n_queries": check.n_queries,
            "seeds_base": check.seeds[0], "seeds_head": check.seeds[1],
        }  # fmt: skip
        out += [
            (escape.xml(f"{check.method}.{name}"), str(value)) for name, value in values.items() if value is not None
        ]
    return out


def _said(check: Check) -> str:
    return f"{check.method}: {check.verdict}: {check.reason}"


def _changed(check: Check) -> list[str]:
    shown = list(check.lost[:SHOWN])
    more = len(check.lost) - len(shown)
    return [f"{len(check.lost)} queries got worse:", *shown, *([f"and {more} more"] if more else [])]


def to_markdown(gate: Gate) -> str:
    """A table for the job's summary page."""
    lines = [
        f"## {escape.markdown(gate.benchmark)}: {gate.verdict}",
        "",
        "| row | verdict | head − base | 90% interval | p | base | head | contexts | queries | seeds | why |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for check in gate.checks:
        low, high = check.ci90 or (None, None)
        cells = [
            escape.markdown(check.method), f"**{check.verdict}**", _points(check.difference, "+"),
            "–" if low is None else f"{_points(low, '+')} to {_points(high, '+')}",
            "–" if check.p is None else f"{check.p:.2g}", _points(check.base), _points(check.head),
            str(check.n_contexts), str(check.n_queries), f"{check.seeds[0]} and {check.seeds[1]}",
            escape.markdown(_why(check)),
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        f"Points; margin {100 * gate.margin:g}. Paired by query; crossed effects of contexts and seeds, Student's t, "
        "5% on either side.",
    ]
    for check in gate.checks:
        if check.verdict == "regressed":
            title = f"<details><summary>{escape.markdown(check.method)}: what got worse</summary>"
            lines += ["", title, "", *escape.fenced(_changed(check)), "</details>"]
    lines += ["", *(f"> {escape.markdown(note)}" for note in gate.notes)] if gate.notes else []
    return "\n".join(lines) + "\n"


def _why(check: Check) -> str:
    need = check.needed
    if need is None:
        return check.reason
    parts = [f"{count} {unit}" for count, unit in ((need.contexts, "contexts"), (need.seeds, "seeds")) if count]
    return f"{check.reason}; {' or '.join(parts) or 'more contexts and seeds together'} would decide it"


def _points(value: float | None, sign: str = "") -> str:
    return "–" if value is None else f"{100 * value:{sign}.1f}"
