"""What it saves to read a common beginning once: many questions on one context, and ICM's rescoring of a pool.

    python benchmarks/shared_scoring.py

On `lab-maths`, in process CPU seconds on one thread (the smaller of two repeats, sides alternating), with the largest
difference of a score. "Apart" is the same engine with sharing switched off. The first rows ask many claims after the
same demonstrations; the last rows compute ICM's objective once over a pool, all against all (every item leaves itself
out, so that beginnings differ) and with ten demonstrations per block, which is what makes a pool linear.
"""

import argparse
import random
import time
from collections.abc import Callable, Sequence

import torch
from harness_lab_maths import world
from harness_lab_maths.card import Bench
from harness_selection.coherence import demonstrations

from harness.engine import prefix, score


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--questions", type=int, default=100)
    reader.add_argument("--demonstrations", type=int, nargs="+", default=[5, 10, 40])
    reader.add_argument("--pools", type=int, nargs="+", default=[20, 40])
    given = reader.parse_args()
    torch.set_num_threads(1)
    bench, rng = Bench(), random.Random(1)

    def claims(count: int) -> list[str]:
        return [world.claim(*rng.sample(range(10, 100), 2)) for _ in range(count)]

    def shown(some: Sequence[str]) -> str:
        return "".join(f"{text} {rng.choice(['true', 'false'])}. " for text in some)

    print("| prompts | tokens apart | CPU s apart | CPU s shared | ratio | largest difference |")
    print("|---|---|---|---|---|---|")
    for count in given.demonstrations:
        before = shown(claims(count))
        prompts = [before + text for text in claims(given.questions)]
        report(bench, f"{given.questions} claims after the same {count}", prompts)
    for size in given.pools:
        pool = claims(size)
        labels = {place: rng.random() < 0.5 for place in range(size)}
        for most in (0, 10):
            told = [
                "".join(f"{pool[i]} {'true' if yes else 'false'}. " for i, yes in demonstrations(place, labels, most))
                for place in range(size)
            ]
            name = f"a pool of {size}, {'blocks of 10' if most else 'all against all'}"
            report(bench, name, [before + text for before, text in zip(told, pool, strict=True)])


def report(bench: Bench, name: str, prompts: Sequence[str]) -> None:
    asks = [(bench.state, prompt, word) for prompt in prompts for word in (" true", " false")]
    tokens = sum(len(bench.model.prompts.prompt_ids(prompt)) + 1 for _, prompt, _ in asks)
    bench.model.logprobs(asks[:2])
    apart, shared = [], []
    for _ in range(2):
        apart.append(timed(lambda: without_sharing(lambda: bench.model.logprobs(asks))))
        shared.append(timed(lambda: bench.model.logprobs(asks)))
    pairs = zip(apart[0][1], shared[0][1], strict=True)
    worst = max(abs(a - b) for one, other in pairs for a, b in zip(one, other, strict=True))
    slow, fast = min(s for s, _ in apart), min(s for s, _ in shared)
    print(f"| {name} | {tokens} | {slow:.2f} | {fast:.2f} | **{slow / fast:.1f}** | {worst:.0e} |", flush=True)


def timed(call: Callable[[], Sequence[Sequence[float]]]) -> tuple[float, Sequence[Sequence[float]]]:
    began = time.process_time()
    found = call()
    return time.process_time() - began, found


def without_sharing(call: Callable[[], Sequence[Sequence[float]]]) -> Sequence[Sequence[float]]:
    kept = score.common_beginnings
    score.common_beginnings = lambda texts: [  # type: ignore[assignment]
        prefix.Run(stack, (place,), len(ids)) for place, (stack, ids) in enumerate(texts)
    ]
    try:
        return call()
    finally:
        score.common_beginnings = kept  # type: ignore[assignment]


if __name__ == "__main__":
    main()
