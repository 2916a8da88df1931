"""Whether the questions that Evol-Instruct's rules eliminate are the bad ones, on the model `lab-maths`.

    OMP_NUM_THREADS=1 python benchmarks/elimination.py

The model makes problems harder at several temperatures; the hotter, the worse it writes. A question is good if it is
its parent with one more event, and bad otherwise: no problem of the world at all, or another one. The rules see none of
that.
"""

from __future__ import annotations

import argparse
import re
from statistics import fmean

from harness_lab_maths import world
from harness_lab_maths.card import Bench
from harness_selection.evolving import copies, leaks
from harness_selection.methods import EVOL_INSTRUCT

RULES = EVOL_INSTRUCT.presets["lab-maths"]["trainer"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=150)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--temperatures", type=float, nargs="+", default=[1.0, 1.6, 2.0])
    args = parser.parse_args()
    bench = Bench()
    print("| temperature | seed | eliminated | of them bad | kept | of them bad |\n|---|---|---|---|---|---|")
    for temperature in args.temperatures:
        for seed in args.seeds:
            parents = world.problems("train", args.problems, seed, (1, 2, 3))
            texts = bench.ask([world.ask_harder(one.text) for one in parents], 1, temperature, seed)
            bad: dict[bool, list[bool]] = {True: [], False: []}
            for parent, (text,) in zip(parents, texts, strict=True):
                found = re.search(RULES["pattern"], text)
                question = " ".join(found[1].split()) if found else ""
                out = (
                    not question
                    or copies(question, parent.text)
                    or bool(leaks(question, parent.text, RULES["phrases"]))
                )
                bad[out].append(not harder(question, parent))
            figures = [
                f"{len(some)} | {100 * fmean(some):.0f}%" if some else "0 | " for some in (bad[True], bad[False])
            ]
            print(f"| {temperature} | {seed} | {figures[0]} | {figures[1]} |", flush=True)


def harder(question: str, parent: world.Problem) -> bool:
    """Whether a question is its parent with one more event at the end."""
    one = world.parse(question)
    told = len(parent.events)
    return (
        one is not None
        and one.start == parent.start
        and one.events[:told] == parent.events
        and len(one.events) == told + 1
    )


if __name__ == "__main__":
    main()
