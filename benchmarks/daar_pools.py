"""DaaR against as many random stories on several pools, and what its probe selects of each.

    python benchmarks/daar_pools.py --out daar  # eight pools, five seeds: about 12 minutes of CPU time
    python benchmarks/daar_pools.py --out daar --pools 1 --seeds 1  # a first look

A pool is `lab-pool` with another `task.seed`, and has a test of its own. Printed are both methods' pass@1, their
difference with its 95% interval, and the share of hard verbs among the selected stories and in the pool; at the end the
mean over the pools with its interval by Student's t, and the runs whose selection has more hard verbs than its pool, or
fewer.
Run again, it takes over what is done.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev

from harness_lab_maths import world
from harness_selection.pool import LabPool, PoolSettings

from harness.evidence.leaderboard.summary import tables
from harness.evidence.view.read import read_run
from harness.runs import runner
from harness.stats import difference
from harness.stats.student import critical

METHODS = ("daar", "daar-random")
TASK = {"use": "lab-pool", "train": 200, "test": 100, "first": 0.8}


def hard(text: str) -> float:
    """Share of a story's verbs that are often misread."""
    problem = world.parse(text)
    assert problem is not None
    return fmean(verb in world.HARD for verb, _ in problem.events)


def selected(folder: Path, method: str, pool: dict[str, float]) -> list[float]:
    """The mean of `pool` over the stories that were learnt, seed by seed."""
    rounds = read_run(folder).rows[method].rounds
    learnt = [
        [edit for one in seed for update in one["updates"] for edit in update["edits"]] for seed in rounds.values()
    ]
    return [fmean(pool[edit.split("/")[0]] for edit in edits) for edits in learnt]


def each(values: Sequence[float]) -> str:
    return ", ".join(f"{100 * value:.0f}" for value in values)


def main(out: Path, pools: int, seeds: int) -> None:
    gaps, found_rare, missed_rare = [], [], []
    print("| pool | `daar` | by seed | `daar-random` | by seed | difference | hard verbs selected (of the pool) |")
    print("|---" * 7 + "|")
    for place in range(1, pools + 1):
        done = runner.run({
            "method": METHODS[0], "beside": [METHODS[1]], "model": "lab-maths", "preset": "quick", "seeds": seeds,
            "task": {**TASK, "seed": place}, "out": str(out), "leaderboard": "", "reuse": "auto",
        })  # fmt: skip
        rows = {row.method: row for row in done.result.rows}
        daar, drawn = ([fmean(map(float, seed)) for seed in rows[name].scores] for name in METHODS)
        gap = difference(*(tables(done.result.task, rows[name]) for name in reversed(METHODS)))
        settings = PoolSettings(train=TASK["train"], test=TASK["test"], first=TASK["first"], seed=place)
        pool = {episode.id: hard(str(episode.context["text"])) for episode, _ in LabPool(settings).load("train")}
        shares, of_pool = selected(done.folder, METHODS[0], pool), fmean(pool.values())
        for share, mine, other in zip(shares, daar, drawn, strict=True):
            (found_rare if share > of_pool else missed_rare).append(mine - other)
        gaps.append(fmean(daar) - fmean(drawn))
        span = f"{100 * gap.interval.low:+.1f} to {100 * gap.interval.high:+.1f}" if seeds > 1 else "–"
        print(
            f"| {place} | {100 * fmean(daar):.1f} | {each(daar)} | {100 * fmean(drawn):.1f} | {each(drawn)} "
            f"| {100 * gaps[-1]:+.1f} ({span}) | {each(shares)} ({100 * of_pool:.0f}) |",
            flush=True,
        )
    half = critical(0.95, pools - 1) * stdev(gaps) / pools**0.5 if pools > 1 else float("nan")
    print(f"\nover the pools: {100 * fmean(gaps):+.1f} ± {100 * half:.1f}")
    for what, values in (("more hard verbs than its pool", found_rare), ("fewer", missed_rare)):
        if values:
            ahead = sum(value > 0 for value in values)
            print(f"selection with {what}: {100 * fmean(values):+.1f}, {ahead} of {len(values)} runs ahead")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("daar"), help="folder of the runs")
    parser.add_argument("--pools", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    main(given.out, given.pools, given.seeds)
