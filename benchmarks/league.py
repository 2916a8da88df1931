"""The league of label-free methods on `lab-maths`: every method and control, three seeds, every signature checked.

    python benchmarks/league.py --out league                # runs it: ten methods, three seeds
    python benchmarks/league.py --out league --seeds 1      # a first look
    python benchmarks/league.py --result league/RUN/result.json

A signature is what a paper says must happen, as a difference of two rows in one table. With three seeds or more it
`shows` where the interval of the difference (crossed over seeds and problems) lies on its side of the mark, `fails`
where it lies on the other, and is `open` between; with fewer seeds only the difference is given. Exit code 1 where one
fails.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.evidence import result_file
from harness.evidence.leaderboard.summary import tables
from harness.evidence.result import ResultFile
from harness.runs import runner
from harness.stats import Difference, difference

COLUMNS = {
    "score": "pass@1",
    "greedy": "greedy",
    "maj-at-16": "maj@16",
    "pass-at-16": "pass@16",
    "distinct-answers": "answers",
    "distinct-texts": "chains",
    "styles": "styles",
    "length": "length",
}
MIN_SEEDS = 3


@dataclass(frozen=True)
class Signature:
    """``b - a`` in a table is above ``least`` points (or below ``most``)."""

    says: str
    table: str
    a: str
    b: str
    least: float | None = None
    most: float | None = None

    def verdict(self, found: Difference, seeds: int) -> str:
        if seeds < MIN_SEEDS:
            return "one seed" if seeds == 1 else f"{seeds} seeds"
        low, high = 100 * found.interval.low, 100 * found.interval.high
        if self.least is not None:
            return "shows" if low > self.least else "fails" if high < self.least else "open"
        assert self.most is not None
        return "shows" if high < self.most else "fails" if low > self.most else "open"


SIGNATURES = (
    Signature("LMSI raises pass@1", "score", "untrained", "lmsi", least=0),
    Signature("random labels do not", "score", "untrained", "lmsi-random", most=5),
    Signature("oracle labels raise it further", "score", "lmsi", "lmsi-oracle", least=0),
    Signature("and maj@16 with it", "maj-at-16", "lmsi", "lmsi-oracle", least=0),
    Signature("TTRL raises pass@1", "score", "untrained", "ttrl-inductive", least=0),
    Signature("on the test questions too", "score", "untrained", "ttrl", least=0),
    Signature("TTRL narrows pass@16", "pass-at-16", "untrained", "ttrl-inductive", most=0),
    Signature("and its chains", "distinct-texts", "untrained", "ttrl-inductive", most=0),
    Signature("random labels raise nothing", "score", "untrained", "ttrl-random", most=5),
    Signature("oracle labels pass the votes", "score", "ttrl-inductive", "ttrl-oracle", least=0),
    Signature("EVOL-RL keeps more of pass@16 than TTRL", "pass-at-16", "ttrl-inductive", "evol-rl", least=0),
    Signature("and more different answers", "distinct-answers", "ttrl-inductive", "evol-rl", least=0),
    Signature("at no worse pass@1", "score", "ttrl-inductive", "evol-rl", least=-3),
    Signature("R-Zero raises its solver's pass@1", "score", "untrained", "r-zero", least=0),
)


def run(out: Path, seeds: int, only: list[str]) -> ResultFile:
    """The league; resumed by `harness resume` where it was interrupted."""
    given: dict[str, Any] = {
        "method": "ttrl-inductive",
        "model": "lab-maths",
        "preset": "lab-maths",
        "seeds": seeds,
        "out": str(out),
        "leaderboard": "",
        "reuse": "auto",
    }
    given |= {"beside": only} if only else {"all": True}
    return runner.run(given).result


def means(found: ResultFile) -> dict[str, dict[str, float | None]]:
    """Method -> table -> mean over problems and seeds, in points."""
    out: dict[str, dict[str, float | None]] = {}
    for table in found.tables:
        for row in table.rows:
            values = [value for seed in row.scores for value in seed]
            known = [value for value in values if value is not None]
            whole = len(known) == len(values) and known
            out.setdefault(row.method, {})[table.name] = 100 * sum(known) / len(known) if whole else None
    return out


def report(found: ResultFile) -> tuple[str, list[str]]:
    """The table and the signatures in Markdown, and the verdicts."""
    figures = means(found)
    lines = [f"| method | {' | '.join(COLUMNS.values())} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for method, values in sorted(figures.items(), key=lambda item: -(item[1].get("score") or 0.0)):
        cells = ["–" if (value := values.get(name)) is None else f"{value:.1f}" for name in COLUMNS]
        lines.append(f"| `{method}` | {' | '.join(cells)} |")
    lines += ["", "| signature | table | difference | interval | |", "|---|---|---|---|---|"]
    verdicts = []
    rows = {(table.name, row.method): (table.task, row) for table in found.tables for row in table.rows}
    for one in SIGNATURES:
        if (one.table, one.a) not in rows or (one.table, one.b) not in rows:
            continue
        task, b = rows[one.table, one.b]
        gap = difference(tables(task, rows[one.table, one.a][1]), tables(task, b))
        verdicts.append(one.verdict(gap, len(b.seeds)))
        span = f"{100 * gap.interval.low:+.1f} to {100 * gap.interval.high:+.1f}" if len(b.seeds) > 1 else "–"
        name = f"{one.says} (`{one.b}` against `{one.a}`)"
        lines.append(f"| {name} | {COLUMNS[one.table]} | {100 * gap.value:+.1f} | {span} | {verdicts[-1]} |")
    notes = [
        f"- `{row.method}`: {note}"
        for table in found.tables
        if table.name == "score"
        for row in table.rows
        for note in row.notes
        if "labels that were right" in note
    ]
    return "\n".join([*lines, *(["", *notes] if notes else [])]), verdicts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("league"), help="folder of the runs")
    parser.add_argument("--seeds", type=int, default=MIN_SEEDS)
    parser.add_argument("--only", nargs="*", default=[], help="methods beside ttrl-inductive; all by default")
    parser.add_argument("--result", type=Path, help="a result file that is there already")
    options = parser.parse_args()
    found = result_file.read(options.result) if options.result else run(options.out, options.seeds, options.only)
    text, verdicts = report(found)
    print(text)
    if not options.result:
        (options.out / "league.md").write_text(text + "\n", encoding="utf-8")
    sys.exit("fails" in verdicts)


if __name__ == "__main__":
    main()
