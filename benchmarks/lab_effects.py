"""Which of the field's effects the lab shows: all conditions on the same held-out pages, with paired intervals.

    python benchmarks/lab_effects.py --pages 100 --seeds 1 2 3 --out lab_effects

Every seed has its own pages, samples and adapters. Every page has its own adapter; updates use the lab's own settings.
``passage-repeat`` learns the page once for every sequence of the page's edit, so optimiser steps are equal. A round of
ReST-EM trains on the best of 5 edits of each of 24 training pages, its control on a random one of the same 5; none is
dropped. Intervals are of the difference, from the harness's model of crossed effects of seeds and pages.
"""

import argparse
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from harness_lab.bench import Bench, lines, titled
from harness_lab.lab_model import POLICY, UPDATE
from harness_lab.world.squad import AskedPage, asked_pages

from harness.api import Example, State
from harness.stats import Clustered, difference, mean_interval

TRAIN_PAGES, CANDIDATES, ROUNDS = 24, 5, 2
CHAINS, CHAIN = 8, 8
OTHER_PROMPTS = ("no-prompt", "self-qa")
PAIRS = [
    ("none", "passage"),
    ("passage", "seal-no-rl"),
    ("passage-repeat", "seal-no-rl"),
    ("seal-no-rl", "seal"),
    ("seal, round 1", "seal"),
    ("passage-repeat", "seal"),
    ("sft-random", "seal, round 1"),
    ("seal-no-rl", "sft-random"),
    ("no-prompt", "implications"),
    ("implications", "self-qa"),
    ("none", "other page's edit"),
    ("seal", "icl"),
]


def answered(bench: Bench, pages: list[AskedPage], edits: list[list[str]], seed: int) -> list[float]:
    texts = [lines(one, edit) for one, (edit,) in zip(pages, edits, strict=True)]
    return bench.learnt(pages, texts, seed=seed)


def policy(bench: Bench, start: State | None, kept: list[tuple[str, str]], seed: int) -> State:
    """The policy after training on (prompt, edit) pairs, starting from its current state."""
    data = [Example(prompt, edit) for prompt, edit in kept if edit.strip()]
    return bench.train([data], POLICY, starts=[start or bench.base], seed=seed)[0]


def restem(bench: Bench, seed: int, say: Callable[[str], None]) -> tuple[list[State], State]:
    """The policy after each round, and the control trained on random candidates of the first round."""
    pages = asked_pages("train", TRAIN_PAGES, seed)
    prompts = bench.prompts(pages, "implications")
    states: list[State] = []
    control = bench.base
    for number in range(ROUNDS):
        now = states[-1] if states else None
        edits = bench.edits(pages, "implications", state=now, n=CANDIDATES, seed=seed + 1000 * (number + 1))
        flat = [(one, [edit]) for one, mine in zip(pages, edits, strict=True) for edit in mine]
        rewards = answered(bench, [one for one, _ in flat], [edit for _, edit in flat], seed + number)
        table = np.array(rewards).reshape(len(pages), CANDIDATES)
        say(f"round {number + 1}: mean reward {table.mean():.3f}, best of {CANDIDATES} {table.max(1).mean():.3f}")
        chosen = [(p, mine[int(row.argmax())]) for p, mine, row in zip(prompts, edits, table, strict=True)]
        states.append(policy(bench, now, chosen, seed))
        if number == 0:
            rng = random.Random(seed)
            control = policy(bench, None, [(p, rng.choice(mine)) for p, mine in zip(prompts, edits, strict=True)], seed)
    return states, control


def conditions(bench: Bench, pages: list[AskedPage], seed: int, say: Callable[[str], None]) -> dict[str, list[float]]:
    """The accuracy of every condition on each page."""
    out: dict[str, list[float]] = {}

    def book(name: str, values: list[float]) -> None:
        out[name] = values
        say(f"{name:20s} {100 * fmean(values):5.1f}")

    none = [bench.base] * len(pages)
    book("none", bench.accuracy(pages, none))
    book("icl", bench.accuracy(pages, none, open_book=True))
    book("passage", bench.learnt(pages, [[one.page.text] for one in pages], seed=seed))
    own = bench.edits(pages, "implications", seed=seed)
    book("seal-no-rl", answered(bench, pages, own, seed))
    rounds, control = restem(bench, seed, say)
    last: list[list[str]] = []
    for number, state in enumerate(rounds, 1):
        last = bench.edits(pages, "implications", state=state, seed=seed)
        book("seal" if number == len(rounds) else f"seal, round {number}", answered(bench, pages, last, seed))
    repeats = [[one.page.text] * len(lines(one, edit)) for one, (edit,) in zip(pages, last, strict=True)]
    book("passage-repeat", bench.learnt(pages, repeats, seed=seed))
    book("sft-random", answered(bench, pages, bench.edits(pages, "implications", state=control, seed=seed), seed))
    book(
        "other page's edit",
        bench.learnt(
            pages, [lines(p, e)[:-1] or [e] for p, (e,) in zip(pages, [*last[1:], last[0]], strict=True)], seed=seed
        ),
    )
    out["implications"] = out["seal-no-rl"]
    for style in OTHER_PROMPTS:
        book(style, answered(bench, pages, bench.edits(pages, style, seed=seed), seed))
    return out


def sequential(bench: Bench, seed: int) -> dict[str, list[float]]:
    """Chains of updates, each on top of the last: accuracy just after a page's own update and at the chain's end."""
    pages = asked_pages("test", CHAINS * CHAIN, seed + 500)
    edits = bench.edits(pages, "self-qa", seed=seed)
    states, after = [bench.base] * CHAINS, []
    for step in range(CHAIN):
        mine = pages[step::CHAIN]
        jobs = [titled(one, lines(one, edit)) for one, (edit,) in zip(mine, edits[step::CHAIN], strict=True)]
        states = bench.train(jobs, UPDATE, starts=states, seed=seed)
        after.append(bench.accuracy(mine, states))
    end = [bench.accuracy(pages[step::CHAIN], states) for step in range(CHAIN - 1)]
    return {
        "just after": [fmean(row[chain] for row in after[:-1]) for chain in range(CHAINS)],
        "at the end": [fmean(row[chain] for row in end) for chain in range(CHAINS)],
    }


def table(rows: list[list[float]], seeds: list[int]) -> Clustered:
    values = np.array(rows)
    return Clustered(values, np.ones_like(values), tuple(seeds))


def summary(found: dict[str, list[list[float]]], seeds: list[int], pairs: list[tuple[str, str]]) -> dict[str, Any]:
    tables = {name: table(rows, seeds) for name, rows in found.items()}
    levels = {}
    for name, one in tables.items():
        span = mean_interval(one)
        levels[name] = [round(100 * x, 1) for x in (float(one.values.mean()), span.low, span.high)]
    gaps = {}
    for a, b in pairs:
        gap = difference(tables[a], tables[b])
        gaps[f"{b} - {a}"] = [round(100 * x, 1) for x in (gap.value, gap.interval.low, gap.interval.high)]
    return {"accuracy": levels, "differences": gaps}


def report(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """A summary of runs of one model, each with one seed."""
    runs = sorted(runs, key=lambda run: run["seed"])
    shared = {key: runs[0][key] for key in ("model", "pages", "update", "policy")}
    if any({key: run[key] for key in shared} != shared for run in runs):
        raise SystemExit("these runs are not of one model with the same pages and settings")
    seeds = [run["seed"] for run in runs]

    def rows(part: str) -> dict[str, list[list[float]]]:
        return {name: [run[part][name] for run in runs] for name in runs[0][part]}

    return {
        **shared,
        "seeds": seeds,
        "seconds": [run["seconds"] for run in runs],
        **summary(rows("accuracy"), seeds, PAIRS),
        "sequential": summary(rows("sequential"), seeds, [("just after", "at the end")]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="")
    parser.add_argument("--pages", type=int, default=100)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--out", type=Path, default=Path("lab_effects"), help="folder for its files")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for seed in options.seeds:
        started = time.monotonic()

        def say(text: str, started: float = started) -> None:
            print(f"[{time.monotonic() - started:5.0f}s] {text}", flush=True)

        say(f"seed {seed}")
        bench = Bench(options.model)
        run = {
            "model": bench.model.base,
            "pages": options.pages,
            "seed": seed,
            "update": dict(UPDATE),
            "policy": dict(POLICY),
            "accuracy": conditions(bench, asked_pages("test", options.pages, seed), seed, say),
            "sequential": sequential(bench, seed),
            "seconds": round(time.monotonic() - started),
        }
        (options.out / f"seed-{seed}.json").write_text(json.dumps(run) + "\n", encoding="utf-8")
    found = [json.loads(path.read_text("utf-8")) for path in sorted(options.out.glob("seed-*.json"))]
    content = report(found)
    (options.out / "summary.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
