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
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

from harness_lab_maths import world

from harness.evidence import result_file
from harness.evidence.leaderboard.summary import tables
from harness.evidence.result import ResultFile, Row, TaskItems
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
KINDS = ("plain", "common", "rare")
KIND_COLUMNS = ("score", "maj-at-16", "pass-at-16")
SEED_COLUMNS = ("score", "pass-at-16", "styles")
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
    kind: str = ""
    """Of problems of this kind alone: "rare" ones are those that most styles misread."""

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
    Signature("and its votes where they are wrong", "maj-at-16", "untrained", "ttrl-inductive", most=0, kind="rare"),
    Signature("right labels mend what votes cannot", "score", "ttrl-inductive", "ttrl-oracle", least=0, kind="rare"),
    Signature("random labels raise nothing", "score", "untrained", "ttrl-random", most=5),
    Signature("oracle labels pass the votes", "score", "ttrl-inductive", "ttrl-oracle", least=0),
    Signature("EVOL-RL keeps more of pass@16 than TTRL", "pass-at-16", "ttrl-inductive", "evol-rl", least=0),
    Signature("also where one style alone is right", "pass-at-16", "ttrl-inductive", "evol-rl", least=0, kind="rare"),
    Signature("and more different answers", "distinct-answers", "ttrl-inductive", "evol-rl", least=0),
    Signature("and more different chains", "distinct-texts", "ttrl-inductive", "evol-rl", least=0),
    Signature("at no worse pass@1", "score", "ttrl-inductive", "evol-rl", least=-3),
    Signature("R-Zero raises its solver's pass@1", "score", "untrained", "r-zero", least=0),
)


def run(out: Path, seeds: int, only: list[str], preset: str = "lab-maths", steps: int = 0) -> ResultFile:
    """The league; resumed by `harness resume` where it was interrupted.

    Args:
        steps: policy steps per round of TTRL, its controls and EVOL-RL; 0 leaves the preset's.
    """
    given: dict[str, Any] = {
        "method": "ttrl-inductive",
        "model": "lab-maths",
        "preset": preset,
        "seeds": seeds,
        "out": str(out),
        "leaderboard": "",
        "reuse": "auto",
    }
    given |= {"beside": only} if only else {"all": True}
    if steps:
        given["trainer"] = {"steps": steps}
        given["variants"] = {"evol-rl": {"method": "evol-rl", "trainer": {"steps": steps}}}
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


def kinds(task: TaskItems) -> list[str]:
    """The kind of every query's problem, in the order of a row's scores; the items' names say which problems."""
    found = [context.rsplit("-", 2) for context, _ in task.items]
    most = max((int(place) for *_, place in found), default=0)
    return [
        _problems(split, most + 1, int(seed))[int(place)].kind
        for (split, seed, place), (_, queries) in zip(found, task.items, strict=True)
        for _ in queries
    ]


@cache
def _problems(split: world.WorldSplit, count: int, seed: int) -> list[world.Problem]:
    return world.problems(split, count, seed)


def narrowed(task: TaskItems, row: Row, kind: str) -> tuple[TaskItems, Row]:
    """A table's task and row on the problems of one kind; all of them for ""."""
    if not kind:
        return task, row
    chosen = [i for i, one in enumerate(kinds(task)) if one == kind]
    scores = tuple(tuple(seed[i] for i in chosen) for seed in row.scores)
    status = tuple("".join(seed[i] for i in chosen) for seed in row.status)
    return replace(task, items=tuple(task.items[i] for i in chosen)), replace(row, scores=scores, status=status)


def by_kind(found: ResultFile) -> list[str]:
    """pass@1, maj@16 and pass@16 of every method by kind of problem, in Markdown."""
    rows = {(table.name, row.method): (table.task, row) for table in found.tables for row in table.rows}
    head = [f"{COLUMNS[name]} {kind}" for kind in KINDS for name in KIND_COLUMNS]
    lines = [f"| method | {' | '.join(head)} |", "|---" * (len(head) + 1) + "|"]
    for method in dict.fromkeys(method for _, method in rows):
        cells = []
        for kind in KINDS:
            for name in KIND_COLUMNS:
                if (name, method) not in rows:
                    cells.append("–")
                    continue
                values = [v for seed in narrowed(*rows[name, method], kind)[1].scores for v in seed]
                known = [v for v in values if v is not None]
                cells.append(f"{100 * sum(known) / len(known):.0f}" if known and len(known) == len(values) else "–")
        lines.append(f"| `{method}` | {' | '.join(cells)} |")
    return lines


def by_seed(found: ResultFile) -> list[str]:
    """What every method's seeds have in the tables in which collapse shows, in Markdown."""
    rows = {(table.name, row.method): row for table in found.tables for row in table.rows}
    shown = [name for name in SEED_COLUMNS if any(table.name == name for table in found.tables)]
    lines = [f"| by seed | {' | '.join(COLUMNS[name] for name in shown)} |", "|---" * (len(shown) + 1) + "|"]
    for method in dict.fromkeys(method for _, method in rows):
        cells = []
        for name in shown:
            scores = rows[name, method].scores if (name, method) in rows else ()
            cells.append(", ".join("–" if None in seed else f"{100 * fmean(seed):.0f}" for seed in scores) or "–")
        lines.append(f"| `{method}` | {' | '.join(cells)} |")
    return lines


def report(found: ResultFile) -> tuple[str, list[str]]:
    """The table and the signatures in Markdown, and the verdicts."""
    figures = means(found)
    lines = [f"| method | {' | '.join(COLUMNS.values())} |", "|---" * (len(COLUMNS) + 1) + "|"]
    for method, values in sorted(figures.items(), key=lambda item: -(item[1].get("score") or 0.0)):
        cells = ["–" if (value := values.get(name)) is None else f"{value:.1f}" for name in COLUMNS]
        lines.append(f"| `{method}` | {' | '.join(cells)} |")
    lines += [
        "",
        *by_kind(found),
        "",
        *by_seed(found),
        "",
        "| signature | table | difference | interval | |",
        "|---|---|---|---|---|",
    ]
    verdicts = []
    rows = {(table.name, row.method): (table.task, row) for table in found.tables for row in table.rows}
    for one in SIGNATURES:
        if (one.table, one.a) not in rows or (one.table, one.b) not in rows:
            continue
        task, b = narrowed(*rows[one.table, one.b], one.kind)
        _, a = narrowed(*rows[one.table, one.a], one.kind)
        if not task.items:
            continue
        gap = difference(tables(task, a), tables(task, b))
        verdicts.append(one.verdict(gap, len(b.seeds)))
        span = f"{100 * gap.interval.low:+.1f} to {100 * gap.interval.high:+.1f}" if len(b.seeds) > 1 else "–"
        name = f"{one.says} (`{one.b}` against `{one.a}`)"
        where = f"{COLUMNS[one.table]}{f', {one.kind} problems' if one.kind else ''}"
        lines.append(f"| {name} | {where} | {100 * gap.value:+.1f} | {span} | {verdicts[-1]} |")
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
    parser.add_argument(
        "--preset", choices=["lab-maths", "quick"], default="lab-maths", help="quick: half the problems"
    )
    parser.add_argument("--steps", type=int, default=0, help="policy steps per round of TTRL and EVOL-RL")
    parser.add_argument("--result", type=Path, help="a result file that is there already")
    options = parser.parse_args()
    if options.result:
        found = result_file.read(options.result)
    else:
        found = run(options.out, options.seeds, options.only, options.preset, options.steps)
    text, verdicts = report(found)
    print(text)
    if not options.result:
        (options.out / "league.md").write_text(text + "\n", encoding="utf-8")
    sys.exit("fails" in verdicts)


if __name__ == "__main__":
    main()
