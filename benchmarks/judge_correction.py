"""How often the interval of ``harness judge correct`` covers the truth, and how much the weak judge narrows it.

    python benchmarks/judge_correction.py DATA [--judge offline-2] [--draws 2000]

The passages of published logs under DATA (scored/, v2/) are the population: the truth is their mean under the recorded
GPT-4.1 verdicts. Each draw resamples as many passages, reveals the strong verdicts of N of them, and estimates the mean
from these and the weak judge's grades of all. It prints the share of draws whose 95% interval covers the truth, the
mean width of the interval as a share of that of the N verdicts alone, and the mean error in points.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from harness.evidence.prediction_powered import by_context, estimate
from harness.evidence.sources import open_source
from harness.judges.load import load

LOGS = ("scored/val_base.json", "scored/val_iter1.json", "v2/cpt200_fullft_base-implications.json")
LABELLED = (10, 20, 50)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--judge", default="offline-2")
    parser.add_argument("--draws", type=int, default=2000)
    options = parser.parse_args()
    judge = load(options.judge)
    print("| log | verdicts on | holds the truth | width | mean error |\n|---|---|---|---|---|")
    for name in LOGS:
        weak, strong = (by_context(open_source(str(options.data / name), grader)) for grader in (judge, None))
        grades = np.array([weak[context][0] for context in weak])
        verdicts = np.array([strong[context][0] for context in weak])
        truth, rng = verdicts.mean(), np.random.default_rng(0)
        for count in LABELLED:
            held, width, error = [], [], []
            for _ in range(options.draws):
                drawn = rng.integers(len(grades), size=len(grades))
                shown = verdicts[drawn]
                shown[count:] = np.nan
                found = estimate(grades[drawn], shown)
                held.append(found.interval.low <= truth <= found.interval.high)
                alone = found.labels_interval.high - found.labels_interval.low
                width.append((found.interval.high - found.interval.low) / alone if alone else 1.0)
                error.append(found.value - truth)
            print(
                f"| {name} | {count} of {len(grades)} passages | {100 * np.mean(held):.0f}% | {np.mean(width):.2f} | "
                f"{100 * np.mean(error):+.1f} |"
            )


if __name__ == "__main__":
    main()
