"""Whether there is a skill vector to be found on the lab at all, before reinforcement looks for one (PaST).

    OMP_NUM_THREADS=1 python benchmarks/skill_vector.py --edit passage

Training and test pages of one seed are learnt by an adapter each, from their own text or from an edit. One further
adapter is then trained on the right answers to the training pages' questions, on top of each page's frozen adapter in
turn (a bound: PaST has rewards only), and put behind the adapters of the test pages.
"""

from __future__ import annotations

import argparse
import random
from statistics import fmean

from harness_lab.bench import Bench, lines, titled
from harness_lab.lab_model import UPDATE
from harness_lab.pretraining.mix import fill, prompts
from harness_lab.world.squad import AskedPage, asked_pages

from harness.api import Data, Example, State, TrainItem


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edit", default="passage", help="passage, or a prompt of SEAL's such as implications")
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--train", type=int, default=24)
    parser.add_argument("--test", type=int, default=16)
    parser.add_argument("--seed", type=int, default=77, help="of the pages")
    args = parser.parse_args()
    bench = Bench()
    train, test = asked_pages("train", args.train, args.seed), asked_pages("test", args.test, args.seed)
    states = bench.train(
        [titled(page, texts) for page, texts in zip(train + test, edits(bench, train + test, args.edit), strict=True)]
    )
    taught, tested = states[: len(train)], states[len(train) :]
    own = {key: value for key, value in UPDATE.items() if key != "use"}
    own |= {"learning_rate": args.rate, "epochs": 1, "batch_size": 64, "schedule": "constant", "keep_optimizer": True}
    print("| passes | test pages | with the vector | the vector alone |\n|---|---|---|---|")
    print(f"| 0 | {percent(bench, test, tested)} | | |", flush=True)
    vector, rng = "", random.Random(1)
    for turn in range(args.passes):
        for place in rng.sample(range(len(train)), len(train)):
            start = taught[place] if not vector else _with(taught[place], vector)
            item = TrainItem("vector", start, answers(train[place]), place, own, "continue" if vector else "stack")
            [done] = bench.model.train([item])
            if done.adapter is None:
                raise SystemExit(f"the vector could not be trained: {done.reason}")
            vector = f"vector-{turn}-{place}"
            bench.adapters[vector] = done.adapter
        after = percent(bench, test, [_with(state, vector) for state in tested])
        alone = percent(bench, test, [_with(bench.base, vector)] * len(test))
        print(f"| {turn + 1} | {percent(bench, test, tested)} | {after} | {alone} |", flush=True)


def edits(bench: Bench, pages: list[AskedPage], name: str) -> list[list[str]]:
    """What every page's update learns."""
    if name == "passage":
        return [[one.page.text] for one in pages]
    return [lines(one, edit) for one, (edit,) in zip(pages, bench.edits(pages, name, seed=3), strict=True)]


def answers(page: AskedPage) -> list[Data]:
    """The right answers, closed book, as the lab's documents write them."""
    form = prompts()["closed"]
    return [Example(fill(form, title=page.page.title, question=one.question), f" {one.answer}") for one in page.asked]


def percent(bench: Bench, pages: list[AskedPage], states: list[State]) -> str:
    return f"{100 * fmean(bench.accuracy(pages, states)):.1f}"


def _with(state: State, vector: str) -> State:
    return State(state.base, (*state.adapters, vector))


if __name__ == "__main__":
    main()
