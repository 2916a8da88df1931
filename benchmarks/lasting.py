"""What lasts when one edit is learnt after another: every cure on the same sequences of the embedded model.

    OMP_NUM_THREADS=1 python benchmarks/lasting.py --out lasting --seed 5 --only chain lasting

One run of the harness per condition, so that an interrupted measurement goes on where it was. ``--seed`` deals other
pages; the settings of the conditions were chosen on pages of seed 77. Prints a table and writes ``lasting.json``.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import harness
from harness.evidence.leaderboard.summary import summarise
from harness.evidence.result_file import read

Condition = tuple[str, dict[str, Any], dict[str, Any]]
"""Method, settings of its updater, settings of its protocol."""

CONDITIONS: dict[str, Condition] = {
    "none": ("chain", {"use": "none"}, {"start_as": "stack"}),
    "chain": ("chain", {}, {}),
    "lasting": ("lasting", {}, {}),
    "tethered": ("tethered", {}, {}),
    "rehearsal": ("rehearsal", {}, {}),
    "apart": ("apart", {}, {}),
    "slow": ("chain", {"learning_rate": 2.5e-3}, {}),
    "fast": ("chain", {"learning_rate": 1e-2}, {}),
    "fold": ("chain", {}, {"start_as": "fold"}),
    "ewc": ("ewc", {}, {}),
    "o-lora": ("o-lora", {}, {}),
    "null-space": ("null-space", {}, {}),
    "merged": ("merged", {}, {}),
    "routed": ("routed", {}, {}),
    "superposed": ("superposed", {}, {}),
    "own-words": ("own-words", {}, {}),
    "distilled-chain": ("distilled-chain", {}, {}),
    "joint": ("joint", {}, {"every": 64}),
}
PREDICTORS = ("kl", "edit", "update.norm", "update.loss")
"""Tables that are known after one update, of which forgetting may be foretold."""
COLUMNS = (
    "learning", "acc", "bwt", "fwt", "forgetting", "forgetting.logprob", "gain", "rest.open-book", "rest.known", "kl",
    "steps", "tokens",
)  # fmt: skip


def run(name: str, condition: Condition, args: argparse.Namespace) -> Path:
    """The folder of a condition's finished run."""
    out = Path(args.out) / name
    done = sorted(out.glob("*/result.json"))
    if done:
        return done[0].parent
    method, updater, protocol = condition
    config: dict[str, Any] = {
        "method": method, "model": "lab", "beside": [], "out": str(out), "leaderboard": "",
        "seed": args.run_seed or args.seed,
        "limit": args.sequences * args.length,
        "task": {"use": "lab-facts", "seed": args.seed, "test": args.sequences * args.length},
        "also": {
            "open-book": {"evaluator": {"use": "open-book", "inner": "closed-book"}, "split": "validation",
                          "limit": args.rest},
            "known": {"task": {"use": "lab-known", "test": 2 * args.rest, "seed": args.seed}},
            **({} if args.quick else {"p": {"evaluator": "answer-probability"}}),
        },
        "protocol": {"length": args.length, "every": args.every, **protocol},
    }  # fmt: skip
    if updater:
        config["updater"] = updater
    if started := sorted(out.glob("*/config.json")):
        return Path(harness.resume(started[0].parent).folder)
    return Path(harness.run(config).folder)


def row(folder: Path) -> dict[str, Any]:
    """The figures of a run, each with its interval over sequences."""
    found = read(folder / "result.json")
    out: dict[str, Any] = {}
    for table in found.tables:
        [summary] = summarise(found.of_table(table.name))
        out[table.name] = [summary.score, summary.low, summary.high]
    return out


def forecast(out: Path, names: list[str]) -> list[tuple[str, dict[str, float], float]]:
    """Condition, what was known after its first update, and its backward transfer: of log-probability (nats) where that
    was measured, else of accuracy (points)."""
    rows = []
    for name in names:
        found = {table.name: table for table in read(next((out / name).glob("*/result.json"))).tables}
        known = {}
        for table in PREDICTORS:
            if table in found and 1 in found[table].steps:
                first = [value for value in found[table].at(1).rows[0].scores[0] if value is not None]
                known[table] = sum(first) / len(first)
        if "retention.logprob" in found:
            rows.append((name, known, lost_nats(found["retention.logprob"])))
        elif "bwt" in found:
            values = [value for value in found["bwt"].rows[0].scores[0] if value is not None]
            rows.append((name, known, sum(values) / len(values)))
    return rows


def lost_nats(matrix: Any) -> float:
    """Mean of R[T, j] - R[j, j] over the places but the last, of a matrix of log-probabilities."""
    last = matrix.steps[-1]
    at = {step: matrix.at(step).rows[0].scores[0] for step in matrix.steps}
    lost = []
    sequences = matrix.task.queries // last
    for place in range(matrix.task.queries):
        j = place // sequences
        own, final = at.get(j + 1, at[last])[place], at[last][place]
        if j + 1 < last and own is not None and final is not None:
            lost.append(final - own)
    return sum(lost) / len(lost)


def spearman(xs: list[float], ys: list[float]) -> float:
    """Rank correlation; ties share their mean rank."""
    import numpy as np

    def ranks(values: list[float]) -> Any:
        table = np.asarray(values)
        return np.array([(table < one).sum() + (table == one).sum() / 2 for one in table])

    return float(np.corrcoef(ranks(xs), ranks(ys))[0, 1])


def shown(name: str, value: Any) -> str:
    if value is None or value[0] is None:
        return "–"
    scale = 100 if name in ("acc", "rest.open-book", "rest.known") else 1
    return f"{scale * value[0]:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--run-seed", type=int, default=0, help="the run's own seed, on the same pages; 0: --seed")
    parser.add_argument("--sequences", type=int, default=8)
    parser.add_argument("--length", type=int, default=16)
    parser.add_argument("--every", type=int, default=4, help="steps between two measurements of everything")
    parser.add_argument(
        "--rest", type=int, default=12, help="unseen pages that are asked open-book; twice as many residents"
    )
    parser.add_argument("--quick", action="store_true", help="without the answers' probabilities")
    parser.add_argument("--only", nargs="*", default=list(CONDITIONS))
    parser.add_argument("--more", default="", help="JSON: further conditions, name -> [method, updater, protocol]")
    args = parser.parse_args()
    conditions = CONDITIONS | {name: tuple(one) for name, one in json.loads(args.more or "{}").items()}
    wanted = [*args.only, *(name for name in json.loads(args.more or "{}") if name not in args.only)]
    path = Path(args.out) / "lasting.json"
    kept = json.loads(path.read_text("utf-8")) if path.exists() else {}
    print(f"{'condition':24s}" + "".join(f"{name.removeprefix('rest.')[:11]:>12s}" for name in (*COLUMNS, "cpu s")))
    for name in wanted:
        began = time.process_time()
        if name not in kept:
            figures = row(run(name, conditions[name], args))
            kept[name] = {"figures": figures, "cpu_s": round(time.process_time() - began, 1)}
            path.write_text(json.dumps(kept, indent=1), "utf-8")
        one = kept[name]
        cells = [shown(column, one["figures"].get(column)) for column in COLUMNS]
        print(f"{name:24s}" + "".join(f"{cell:>12s}" for cell in (*cells, f"{one['cpu_s']:.0f}")), flush=True)
    found = forecast(Path(args.out), [name for name in wanted if name != "none"])
    for name, known, lost in found:
        said = ", ".join(f"{table} {value:.3f}" for table, value in known.items())
        print(f"{name:24s} after one update: {said}; backward transfer {lost:+.2f}")
    for table in PREDICTORS:
        pairs = [(known[table], -lost) for _, known, lost in found if table in known]
        if len(pairs) > 2:
            rho = spearman(*map(list, zip(*pairs, strict=True)))
            print(f"Spearman correlation of {table} with what is lost, over {len(pairs)} conditions: {rho:.2f}")


if __name__ == "__main__":
    main()
