"""Self-Rewarding and Meta-Rewarding round by round: the judge, the policy and the length of its answers, M1 to M3.

    python benchmarks/judges_by_round.py --out judges            # three seeds; run again, it goes on where it was
    python benchmarks/judges_by_round.py --out judges --seeds 1 --preset quick  # a first look
    python benchmarks/judges_by_round.py --result judges/RUN/result.json

Every round's model answers the test problems, and marks the same answers of the start model. A signature is what a
paper says must happen; it `shows` where the 95% interval of the difference (crossed over seeds and problems, paired)
lies beyond 0 on its side, `fails` where it lies on the other, and is `open` between.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from harness.evidence import result_file
from harness.evidence.leaderboard.summary import tables
from harness.evidence.result import ResultFile, Table
from harness.runs import runner
from harness.stats import Difference, difference

SELF, META, SFT = "self-rewarding", "meta-rewarding", "self-rewarding-sft"
COLUMNS = {
    "score": "pass@1", "maj-at-8": "maj@8", "length": "length", "judge-pairs": "judge's pairs",
    "judge-pairs-integer": "by its likeliest mark", "start-weighted-votes-8": "weighted votes",
}  # fmt: skip
"""Tables of the preset, and what they are called here."""


@dataclass(frozen=True)
class Signature:
    """``b`` is above ``a`` (below it, if ``falls``): a method and a round each, 0 for the start and -1 for the last."""

    says: str
    table: str
    a: tuple[str, int]
    b: tuple[str, int]
    falls: bool = False

    def verdict(self, found: Difference) -> str:
        low, high = found.interval.low, found.interval.high
        if self.falls:
            low, high = -high, -low
        return "shows" if low > 0 else "fails" if high < 0 else "open"


SIGNATURES = (
    Signature("the judge improves", "judge-pairs", (SELF, 0), (SELF, -1)),
    Signature("also by its likeliest mark", "judge-pairs-integer", (SELF, 0), (SELF, -1)),
    Signature("and as a weight of the start's votes", "start-weighted-votes-8", (SELF, 0), (SELF, -1)),
    Signature("so does the policy", "score", (SELF, 0), (SELF, -1)),
    Signature("its answers grow longer", "length", (SELF, 0), (SELF, -1)),
    Signature("pairs gain more than positives alone", "score", (SFT, -1), (SELF, -1)),
    Signature("Meta-Rewarding's judge improves", "judge-pairs", (META, 0), (META, -1)),
    Signature("Meta-Rewarding's by its likeliest mark", "judge-pairs-integer", (META, 0), (META, -1)),
    Signature("Meta-Rewarding's as a weight of the start's votes", "start-weighted-votes-8", (META, 0), (META, -1)),
    Signature("more than Self-Rewarding's", "judge-pairs", (SELF, -1), (META, -1)),
    Signature("more by its likeliest mark", "judge-pairs-integer", (SELF, -1), (META, -1)),
    Signature("its policy improves", "score", (META, 0), (META, -1)),
    Signature("its answers are shorter than Self-Rewarding's", "length", (SELF, -1), (META, -1), falls=True),
)


def run(out: Path, seeds: int, methods: list[str], preset: str) -> ResultFile:
    """Every method under the protocol `by-round`; a run of the same folder that was interrupted is gone on with, and
    one that is whole is used for what it shares with this one."""
    begun = sorted(path.parent for path in out.glob("*/config.json") if not (path.parent / "result.json").exists())
    if begun:
        return runner.resume(begun[-1]).result
    given: dict[str, Any] = {
        "method": methods[0], "beside": methods[1:], "model": "lab-maths", "preset": preset, "seeds": seeds,
        "protocol": "by-round", "out": str(out), "leaderboard": "", "reuse": "auto", "trainer": {"probe": 0},
    }  # fmt: skip
    return runner.run(given).result


def at(table: Table, method: str, step: int) -> Any:
    """A row's scores after a round, clustered by problem."""
    one = table.at(table.steps[step])
    return tables(one.task, next(row for row in one.rows if row.method == method))


def by_seed(table: Table, method: str) -> str:
    """A row's means after the last round, seed by seed; a dash for a seed of which something has no value."""
    last = next(row for row in table.at(table.steps[-1]).rows if row.method == method)
    return ", ".join("–" if None in seed else f"{100 * fmean(seed):.1f}" for seed in last.scores)


def report(found: ResultFile) -> tuple[str, dict[str, str]]:
    """Figures by round and the signatures in Markdown; what each signature says -> its verdict."""
    by_round = {table.name.removeprefix("by-round."): table for table in found.tables if table.steps}
    shown = {name: said for name, said in COLUMNS.items() if name in by_round}
    methods = list(dict.fromkeys(row.method for table in by_round.values() for row in table.rows))
    lines = [f"| row | {' | '.join(shown.values())} |", "|---" * (len(shown) + 1) + "|"]
    for method in methods:
        cells = [
            ", ".join(
                f"{100 * at(by_round[name], method, place).mean:.1f}" for place in range(len(by_round[name].steps))
            )
            for name in shown
        ]
        lines.append(f"| `{method}` | {' | '.join(cells)} |")
    lines += ["", f"| last round, by seed | {' | '.join(shown.values())} |", "|---" * (len(shown) + 1) + "|"]
    for method in methods:
        lines.append(f"| `{method}` | {' | '.join(by_seed(by_round[name], method) for name in shown)} |")
    lines += ["", "| signature | table | difference | 95% | |", "|---|---|---|---|---|"]
    verdicts = {}
    for one in SIGNATURES:
        if one.table not in by_round or not {one.a[0], one.b[0]} <= set(methods):
            continue
        gap = difference(at(by_round[one.table], *one.a), at(by_round[one.table], *one.b))
        verdicts[one.says] = one.verdict(gap)
        span = f"{100 * gap.interval.low:+.1f} to {100 * gap.interval.high:+.1f}"
        where = f"{shown[one.table]} of `{one.b[0]}` against `{one.a[0]}`{' at the start' if one.a[1] == 0 else ''}"
        lines.append(f"| {one.says} | {where} | {100 * gap.value:+.1f} | {span} | {verdicts[one.says]} |")
    return "\n".join(lines), verdicts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("judges"), help="folder of the runs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=[SELF, META, SFT])
    parser.add_argument("--preset", choices=["lab-maths", "quick"], default="lab-maths")
    parser.add_argument("--result", type=Path, help="a result file that is there already")
    options = parser.parse_args()
    if options.result:
        found = result_file.read(options.result)
    else:
        found = run(options.out, options.seeds, options.methods, options.preset)
    print(report(found)[0])


if __name__ == "__main__":
    main()
