"""What lasts when one edit is learnt after another: every cure on the same sequences of the embedded model.

    OMP_NUM_THREADS=1 python benchmarks/lasting.py --out lasting --seed 5 --only chain lasting
    OMP_NUM_THREADS=1 python benchmarks/lasting.py --out strengths --seed 8 --sequences 4 --length 8 --only strengths
    OMP_NUM_THREADS=1 python benchmarks/lasting.py --out together --only chain --together

One run of the harness per condition, so that an interrupted measurement goes on where it was. ``--seed`` deals other
pages; the settings of the conditions were chosen on pages of seed 77. Prints a table and writes ``lasting.json``; then
what the first update tells of the forgetting that follows, over conditions and within them. ``--only`` takes names of
conditions and of the groups ``cures``, ``strengths`` and ``served``. ``--together`` measures instead what the sequences
cost side by side and one by one.
"""

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import harness
from harness.evidence.leaderboard.summary import summarise
from harness.evidence.result import Table
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
"""The methods, with their own settings."""
STRENGTHS: dict[str, Condition] = {
    "slower": ("chain", {"learning_rate": 1.25e-3}, {}),
    "null-.5": ("null-space", {"null_space": 0.5}, {}),
    "null-.99": ("null-space", {"null_space": 0.99}, {}),
    "ewc-.03": ("ewc", {"ewc": 0.03}, {}),
    "ewc-.3": ("ewc", {"ewc": 0.3}, {}),
    "o-lora-.1": ("o-lora", {"orthogonal": 0.1}, {}),
    "o-lora-2": ("o-lora", {"orthogonal": 2.0}, {}),
    "rehearsal-.25": ("rehearsal", {"rehearse": 0.25}, {}),
    "tethered-.5": ("tethered", {"words_weight": 0.5, "prompts": 0.5}, {}),
}
"""The same at other strengths."""
SERVED: dict[str, Condition] = {
    "merged-sum": ("merged", {}, {"weight": 1.0}),
    "merged-root": ("merged", {}, {"weight": 0.35}),
    "linear": ("merged", {}, {"serve": "linear", "weight": 1.0}),
    "svd-root": ("merged", {}, {"serve": "svd", "weight": 0.35}),
    "ties": ("merged", {}, {"serve": "ties", "weight": 1.0}),
    "ties-svd": ("merged", {}, {"serve": "ties_svd", "weight": 1.0}),
    "dare": ("merged", {}, {"serve": "dare_linear_svd", "weight": 0.35}),
    "routed-nearest": ("routed", {}, {"serve": "nearest"}),
    "routed-learnt": ("routed", {}, {"serve": "learnt"}),
}
"""Adapters that are apart, served in other ways. 0.35 is one over the root of eight."""
GROUPS = {
    "cures": list(CONDITIONS),
    "strengths": ["chain", "slow", "fast", "fold", "ewc", "null-space", "o-lora", "tethered", "rehearsal", "lasting",
                  "own-words", "distilled-chain", *STRENGTHS],
    "served": ["apart", "routed", "merged", "superposed", *SERVED],
}  # fmt: skip
ALL = CONDITIONS | STRENGTHS | SERVED
PREDICTORS = ("kl", "edit", "update.norm", "update.loss")
"""Tables that are known after one update, of which forgetting may be foretold."""
COLUMNS = (
    "learning", "acc", "bwt", "fwt", "forgetting", "forgetting.logprob", "gain", "rest.open-book", "rest.known", "kl",
    "routed", "steps", "tokens",
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


def together(name: str, condition: Condition, args: argparse.Namespace) -> None:
    """Prints the CPU seconds of all sequences in one run, and of as many runs of one sequence each.

    The runs of one have the pages of further seeds, so that trained tokens differ a little, and are shown too. A
    first run, which is not counted, loads everything.
    """
    path = Path(args.out) / f"together-{name}.json"
    kept = json.loads(path.read_text("utf-8")) if path.exists() else {}
    sizes = {"": 1, "together": args.sequences, **{f"alone-{k + 1}": 1 for k in range(args.sequences)}}
    for k, (which, sequences) in enumerate(sizes.items()):
        if which in kept or (not which and len(kept) == len(sizes) - 1):
            continue
        own = argparse.Namespace(**vars(args) | {"sequences": sequences, "seed": args.seed + k, "run_seed": args.seed})
        began = time.process_time()
        figures = row(run(f"{name}-{which or 'warm-up'}", condition, own))
        if which:
            seconds = time.process_time() - began
            kept[which] = {
                "cpu_s": seconds,
                "tokens": sequences * figures["tokens"][0],
                "learning": figures["learning"],
            }
            path.write_text(json.dumps(kept, indent=1), "utf-8")
    alone = [one for which, one in kept.items() if which != "together"]
    for said, rows in (("together", [kept["together"]]), ("one by one", alone)):
        spent, tokens = (sum(one[figure] for one in rows) for figure in ("cpu_s", "tokens"))
        print(f"{name}, {args.sequences} sequences {said}: {spent:.1f} CPU s, {tokens:.0f} trained tokens, "
              f"{1000 * spent / tokens:.2f} CPU s per 1000", flush=True)  # fmt: skip


def row(folder: Path) -> dict[str, Any]:
    """The figures of a run, each with its interval over sequences."""
    found = read(folder / "result.json")
    out: dict[str, Any] = {}
    for table in found.tables:
        [summary] = summarise(found.of_table(table.name))
        out[table.name] = [summary.score, summary.low, summary.high]
    return out


@dataclass(frozen=True)
class Sequence:
    """What was known of a sequence after its first update, table by table, and what it lost in the end."""

    condition: str
    known: dict[str, float]
    lost: float
    """R[j, j] - R[T, j], mean over j < T: of log-probability (nats) where that was measured, else of accuracy
    (points)."""


def forecast(out: Path, names: list[str]) -> list[Sequence]:
    """Every sequence of the conditions. Joint training is none, and a router has no one state to measure."""
    found = []
    for name in names:
        tables = {table.name: table for table in read(next((out / name).glob("*/result.json"))).tables}
        if "bwt" not in tables or "kl" not in tables:
            continue
        lost = lost_nats(tables["retention.logprob"]) if "retention.logprob" in tables else {}
        if not lost:
            lost = {one: -value for one, value in by_sequence(tables["bwt"]).items()}
        first = {
            table: by_sequence(tables[table].at(1))
            for table in PREDICTORS
            if table in tables and 1 in tables[table].steps
        }
        for one, value in lost.items():
            known = {table: values[one] for table, values in first.items() if one in values}
            found.append(Sequence(name, known, value))
    return found


def by_sequence(table: Table) -> dict[str, float]:
    """Context of a table (a sequence) -> its mean."""
    values = iter(table.rows[0].scores[0])
    rows = {context: [next(values) for _ in queries] for context, queries in table.task.items}
    return {name: mean(row) for name, row in rows.items() if None not in row}  # type: ignore[type-var]


def lost_nats(matrix: Table) -> dict[str, float]:
    """Sequence -> mean of R[j, j] - R[T, j] over the places but the last, of a matrix of log-probabilities."""
    last = matrix.steps[-1]
    at = {}
    for step in matrix.steps:
        values = iter(matrix.at(step).rows[0].scores[0])
        at[step] = {query: next(values) for _, queries in matrix.task.items for query in queries}
    lost: dict[str, list[float]] = {}
    for place, (_, queries) in enumerate(matrix.task.items[:-1]):
        for query in queries:
            own, final = at.get(place + 1, at[last])[query], at[last][query]
            if own is not None and final is not None:
                lost.setdefault(query.split("/")[-1], []).append(own - final)
    return {name: mean(row) for name, row in lost.items()}


def told(found: list[Sequence], table: str) -> str:
    """How well a table foretells what is lost: over the conditions' means, and over the sequences of one condition."""
    known = [one for one in found if table in one.known]
    rows: dict[str, list[Sequence]] = {}
    for one in known:
        rows.setdefault(one.condition, []).append(one)
    if len(rows) < 3:
        return f"{table}: measured in {len(rows)} conditions, too few"
    over = spearman([mean(one.known[table] for one in row) for row in rows.values()],
                    [mean(one.lost for one in row) for row in rows.values()])  # fmt: skip
    kept = [row for row in rows if row not in ("rehearsal", "rehearsal-.25", "lasting")]
    plain = spearman([mean(one.known[table] for one in rows[row]) for row in kept],
                     [mean(one.lost for one in rows[row]) for row in kept])  # fmt: skip
    inside = [
        spearman([one.known[table] for one in row], [one.lost for one in row]) for row in rows.values() if len(row) > 2
    ]
    within = f", {mean(one for one in inside if one == one):.2f} within one" if inside else ""
    return f"{table}: {over:.2f} over {len(rows)} conditions, {plain:.2f} over those that rehearse nothing{within}"


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
    scale = 100 if name in ("acc", "rest.open-book", "rest.known", "routed") else 1
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
    parser.add_argument("--together", action="store_true", help="the cost of the sequences side by side and one by one")
    args = parser.parse_args()
    conditions = ALL | {name: tuple(one) for name, one in json.loads(args.more or "{}").items()}
    asked = [one for name in args.only for one in GROUPS.get(name, [name])]
    if unknown := [name for name in asked if name not in conditions]:
        parser.error(f"no condition {unknown[0]!r}; there are {', '.join([*GROUPS, *conditions])}")
    wanted = [*asked, *(name for name in json.loads(args.more or "{}") if name not in asked)]
    if args.together:
        for name in wanted:
            together(name, conditions[name], args)
        return
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
    if len({one.condition for one in found}) > 2:
        print("Spearman correlation of what is known after the first update with what is lost in the end")
        for table in PREDICTORS:
            print(told(found, table))


if __name__ == "__main__":
    main()
