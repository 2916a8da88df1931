"""How estimating the padding's loss changes scores: `pad_loss: reference` with a few computed positions against all.

    python benchmarks/pad_loss.py --pages 32 --seeds 1 2 3 --length 256 --nodes 8 32

Every page of the lab gets one update on the model's own edit, several times: with every padding position up to
`--length` computed (the published objective, as published), with `--nodes` positions that stand for all of them, and
with the default `single_eos` (another objective). Pages are paired; intervals come from the model of crossed effects.
"""

import argparse
import time
from statistics import fmean

import numpy as np
import torch
from harness_lab.bench import Bench, lines
from harness_lab.lab_model import UPDATE
from harness_lab.world.squad import asked_pages

from harness.stats import Clustered, difference


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--pages", type=int, default=24)
    reader.add_argument("--seeds", type=int, nargs="+", default=[1])
    reader.add_argument("--length", type=int, default=256, help="tokens that a sequence is padded to")
    reader.add_argument("--nodes", type=int, nargs="+", default=[8], help="computed positions that stand for all")
    given = reader.parse_args()
    torch.set_num_threads(1)
    bench = Bench()
    reference = {**UPDATE, "pad_loss": "reference", "max_length": given.length}
    ways = {
        "all positions": {**reference, "pad_nodes": given.length},
        **{f"{nodes} positions": {**reference, "pad_nodes": nodes} for nodes in given.nodes},
        "single_eos": {**UPDATE, "pad_loss": "single_eos"},
    }
    scores: dict[str, list[list[float]]] = {name: [] for name in ways}
    for seed in given.seeds:
        pages = asked_pages("validation", given.pages, seed)
        edits = bench.edits(pages, "implications", seed=seed)
        texts = [lines(page, edit) for page, (edit,) in zip(pages, edits, strict=True)]
        for name, settings in ways.items():
            began = time.process_time()
            scores[name].append(bench.learnt(pages, texts, settings, seed=seed))
            spent = (time.process_time() - began) / given.pages
            print(f"seed {seed}, {name}: {100 * fmean(scores[name][-1]):.1f}%, {spent:.2f} CPU s per page", flush=True)
    even = np.ones((len(given.seeds), given.pages))
    tables = {name: Clustered(np.array(rows), even, tuple(given.seeds)) for name, rows in scores.items()}
    for name in list(ways)[1:]:
        gap = difference(tables["all positions"], tables[name])
        low, high = 100 * gap.interval.low, 100 * gap.interval.high
        print(f"{name} - all positions: {100 * gap.value:+.1f} points [{low:+.1f}, {high:+.1f}]")


if __name__ == "__main__":
    main()
