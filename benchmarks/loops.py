"""Outer loops against each other on the lab: the same contexts, candidates and trials a round, one continued adapter.

    python benchmarks/loops.py --out loops --seeds 1 2 3
    python benchmarks/loops.py --out loops --report

A cell is one loop with one reward under one seed, run by `harness.run`; a cell that is done is not run again, and one
that was stopped goes on. The runs of one reward and seed take results over from each other, so that the first round of
all loops has the very same rewarded groups. No round is chosen: the last policy is tested.
"""

import argparse
import json
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from harness.runs import runner
from harness.stats import Clustered, difference, mean_interval

METHODS = {
    "restem": "seal-probability", "rloo": "seal-rloo", "grpo": "seal-grpo", "dpo": "seal-dpo", "ppo": "seal-ppo",
    "ppo-cross-fitted": "seal-ppo-cross-fitted",
}  # fmt: skip
PPO = Path(__file__).parent / "ppo_loop.py"
REWARDS: dict[str, dict[str, Any]] = {
    "probability 5x1": {"use": "trial-probability"},
    "trial 5x3": {"use": "trial", "inner_seeds": 3},
    "screen, then 2": {
        "use": "screen-then-trial", "keep": 2, "screen": {"use": "screen"}, "trial": {"use": "trial-probability"},
    },
}  # fmt: skip


def cell(loop: str, reward: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """What became of one cell."""
    runs = options.out / "runs" / f"{reward}, seed {seed}".replace(" ", "-").replace(",", "")
    inner = {"rounds": options.rounds, "contexts": options.contexts, "samples": options.samples}
    given = {
        "method": METHODS[loop], "beside": [], "seed": seed, "limit": options.pages, "validation": 0,
        "reward": REWARDS[reward], "trainer": {"contexts": options.held_out, "inner": inner}, "out": str(runs),
        "leaderboard": "", "reuse": "auto", "task": {"use": "lab-facts", "seed": options.pages_seed},
    }  # fmt: skip
    stopped = [path for path in sorted(runs.glob(f"*-{METHODS[loop]}-*")) if not (path / "result.json").exists()]
    done = runner.resume(stopped[-1]) if stopped else runner.run(given, plugin_files=(PPO,) * loop.startswith("ppo"))
    pages: dict[str, list[float]] = {}
    for score in done.scores():
        pages.setdefault(score["episode"], []).append(score["value"] or 0.0)
    [row] = done.result.rows
    rounds = [json.loads(path.read_text("utf-8")) for path in sorted((done.folder / "rounds").glob("*.json"))]
    return {
        "loop": loop, "reward": reward, "seed": seed, "pages": {name: fmean(marks) for name, marks in pages.items()},
        "rounds": rounds, "costs": dict(row.costs), "notes": list(row.notes),
    }  # fmt: skip


def report(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """Every loop and reward over its seeds, and its difference from ReST-EM with the same reward and seeds."""
    out: dict[str, Any] = {}
    tables: dict[tuple[str, str], Clustered] = {}
    for reward in dict.fromkeys(one["reward"] for one in cells):
        for loop in dict.fromkeys(one["loop"] for one in cells):
            mine = sorted((c for c in cells if (c["reward"], c["loop"]) == (reward, loop)), key=lambda c: c["seed"])
            if not mine:
                continue
            values = np.array([[c["pages"][name] for name in sorted(c["pages"])] for c in mine])
            tables[reward, loop] = Clustered(values, np.ones_like(values), tuple(c["seed"] for c in mine))
            span = mean_interval(tables[reward, loop])
            line = {
                "seeds": [c["seed"] for c in mine],
                "score": _points(float(values.mean()), span.low, span.high) if span else None,
                "held_out": [_mean([c["rounds"][0].get("start", {}) for c in mine], "held_out")]
                + [_mean([c["rounds"][r] for c in mine], "held_out") for r in range(len(mine[0]["rounds"]))],
                "seconds": round(fmean(c["costs"].get("outer_s", 0.0) for c in mine), 1),
            }
            for name in ("kl", "length", "entropy"):
                line[name] = _mean([c["rounds"][-1] for c in mine], name)
            base = tables.get((reward, "restem"))
            if base is not None and loop != "restem" and base.seeds == tables[reward, loop].seeds:
                gap = difference(base, tables[reward, loop])
                line["over restem"] = _points(gap.value, gap.interval.low, gap.interval.high)
            out[f"{loop}, {reward}"] = line
    return out


def _mean(rounds: list[dict[str, Any]], name: str) -> float | None:
    known = [one[name] for one in rounds if one.get(name) is not None]
    return round(fmean(known), 3) if known else None


def _points(*values: float) -> list[float]:
    return [round(100 * value, 1) for value in values]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("loops"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--loops", nargs="+", choices=METHODS, default=["restem", "rloo", "grpo", "dpo"])
    parser.add_argument("--rewards", nargs="+", choices=REWARDS, default=list(REWARDS))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--contexts", type=int, default=16)
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--held-out", type=int, default=8, help="validation contexts that the guard watches")
    parser.add_argument("--pages", type=int, default=32, help="test contexts")
    parser.add_argument("--pages-seed", type=int, default=1021, help="of the lab's pages; nothing was tuned on 1021")
    parser.add_argument("--report", action="store_true", help="only print what was collected")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "cells.jsonl"
    cells = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []
    known = {(one["loop"], one["reward"], one["seed"]) for one in cells}
    for seed, reward, loop in ((s, r, one) for r in options.rewards for s in options.seeds for one in options.loops):
        if options.report or (loop, reward, seed) in known:
            continue
        cells.append(cell(loop, reward, seed, options))
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(cells[-1]) + "\n")
        print(f"{loop}, {reward}, seed {seed}: {100 * fmean(cells[-1]['pages'].values()):.1f}", flush=True)
    found = report(cells)
    (options.out / "summary.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
