"""The speed tier: base and head timed in one job, in alternating order, so that a slow machine slows both.

    python benchmarks/interleaved.py --base "CMD" --head "CMD" [--rounds 9] [--limit 1.25] [--json out.json]

Prints the median of head / base over the rounds with a 95% bootstrap interval. Fails (exit 1) only if the median
ratio is above the limit *and* a one-sided sign test of "head is slower by more than the limit" has p < 0.01; if a
command fails, exits with 4. A ratio is used because times from different machines cannot be compared.
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import subprocess
import sys
import time
from math import comb
from pathlib import Path

import numpy as np

LEVEL = 0.01


def seconds(command: str) -> float:
    """Wall-clock seconds of one run of a command; exits with 4 if it fails."""
    started = time.monotonic()
    done = subprocess.run(shlex.split(command), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        print(f"could not be measured: {command!r} exited with {done.returncode}: {last}", file=sys.stderr)
        sys.exit(4)
    return time.monotonic() - started


def sign_test(ratios: list[float], limit: float) -> float:
    """One-sided p-value of this many ratios above the limit if half of all ratios were."""
    above = sum(ratio > limit for ratio in ratios)
    return sum(comb(len(ratios), k) for k in range(above, len(ratios) + 1)) / 2 ** len(ratios)


def main() -> int:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--base", required=True, help="command of the base version")
    reader.add_argument("--head", required=True, help="command of the head version")
    reader.add_argument("--rounds", type=int, default=9, help="pairs of runs; at least 7 for a verdict at 1%%")
    reader.add_argument("--limit", type=float, default=1.25)
    reader.add_argument("--json", type=Path)
    given = reader.parse_args()
    if given.rounds < 1:
        reader.error("--rounds is at least 1")
    ratios = []
    for number in range(given.rounds):
        order = ("base", "head") if number % 2 == 0 else ("head", "base")
        took = {side: seconds(getattr(given, side)) for side in order}
        ratios.append(took["head"] / took["base"])
        print(
            f"round {number + 1}: base {took['base']:.3f} s, head {took['head']:.3f} s, ratio {ratios[-1]:.3f}",
            flush=True,
        )
    picks = np.random.default_rng(0).integers(len(ratios), size=(10_000, len(ratios)))
    low, high = np.percentile(np.median(np.array(ratios)[picks], axis=1), [2.5, 97.5])
    median, p = float(np.median(ratios)), sign_test(ratios, given.limit)
    slower = median > given.limit and p < LEVEL
    print(f"head / base: median {median:.3f}, 95% [{low:.3f}, {high:.3f}], limit {given.limit}, p {p:.3g}: "
          f"{'slower' if slower else 'no slowdown shown'}")  # fmt: skip
    if given.json:
        figures = {"median": median, "ci95": [float(low), float(high)], "p": p, "limit": given.limit, "slower": slower,
                   "ratios": ratios, "machine": platform.machine(), "python": platform.python_version()}  # fmt: skip
        given.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return int(slower)


if __name__ == "__main__":
    sys.exit(main())
