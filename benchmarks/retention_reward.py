"""Whether the divergence after one update foretells which edit of a page makes a model forget most.

    OMP_NUM_THREADS=1 python benchmarks/retention_reward.py --pages 24 --out retention

The reward ``retention`` tries every candidate on a model that has just learnt other pages. A forecast would take one
update of the untouched model instead, and its KL on neutral text: here both are measured on the same candidates, five
`self-qa` edits of each page, with the updates of the lasting plugin's chains. A page goes to a file as soon as it is
done, and a second call goes on from there. Pages are those of seed 1021 of the training split.
"""

import argparse
import json
import math
import time
from pathlib import Path
from statistics import fmean

from harness_lab.bench import Bench, lines, titled
from harness_lab.pretraining.mix import fill, prompts
from harness_lab.world.squad import AskedPage, asked_pages
from harness_lasting.methods import PLAIN
from harness_proxy_reward.correlation import Pairs, spearman

from harness.api import Request, State

CANDIDATES, OTHERS, SEED = 5, 2, 1021
NEUTRAL, TOKENS = 16, 48
PREDICTORS = ("kl", "edit", "tokens", "gain")


def probability(bench: Bench, asked: list[tuple[State, AskedPage]]) -> list[float]:
    """Mean probability of a page's answers, closed book."""
    form = prompts()["closed"]
    asks = [
        (state, fill(form, title=one.page.title, text="", question=a.question), a.answer)
        for state, one in asked
        for a in one.asked
    ]
    found = iter(bench.model.logprobs(asks))
    return [fmean(math.exp(sum(next(found))) for _ in one.asked) for _, one in asked]


def moved(bench: Bench, states: list[State], texts: list[list[tuple[str, str]]]) -> list[float]:
    """Mean log-ratio of the untouched model to each state on its texts (prompt, continuation), in nats per token."""
    out = []
    for state, mine in zip(states, texts, strict=True):
        before = bench.model.logprobs([(bench.base, *one) for one in mine])
        now = bench.model.logprobs([(state, *one) for one in mine])
        out.append(fmean(sum(a) / len(a) - sum(b) / len(b) for a, b in zip(before, now, strict=True)))
    return out


def measured(bench: Bench, page: AskedPage, others: list[AskedPage], neutral: list[tuple[str, str]], seeds: int,
             seed: int) -> dict[str, list[float]]:  # fmt: skip
    """Figure -> its value for each candidate of the page."""
    edits = bench.edits([page], "self-qa", n=CANDIDATES, seed=seed)[0]
    first = [found[0] for found in bench.edits(others, "self-qa", seed=seed + 1)]
    jobs = [titled(page, lines(page, edit)) for edit in edits]
    before = [one for other, edit in zip(others, first, strict=True) for one in titled(other, lines(other, edit))]
    lost: list[list[float]] = [[] for _ in edits]
    gain: list[list[float]] = [[] for _ in edits]
    for run in range(seeds):
        [start] = bench.train([before], PLAIN, seed=seed + run)
        known, other_known = probability(bench, [(start, page)]), probability(bench, [(start, one) for one in others])
        after = bench.train(jobs, PLAIN, starts=[start] * len(jobs), seed=seed + run)
        for k, state in enumerate(after):
            gain[k].append(probability(bench, [(state, page)])[0] - known[0])
            lost[k].append(fmean(other_known) - fmean(probability(bench, [(state, one) for one in others])))
    once = bench.train(jobs, PLAIN, seed=seed)
    own = [[(f"{page.page.title}\n", text) for text in lines(page, edit)] for edit in edits]
    out = {
        "lost": [fmean(one) for one in lost],
        **{f"lost-{run + 1}": [one[run] for one in lost] for run in range(seeds)},
        "gain": [fmean(one) for one in gain],
        "kl": moved(bench, once, [neutral] * len(edits)),
        "edit": moved(bench, once, own),
        "tokens": [float(sum(len(text) for _, text in mine)) for mine in own],
    }
    bench.adapters.clear()
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--pages", type=int, default=24)
    parser.add_argument(
        "--seeds", type=int, default=2, help="updates of every candidate that what it costs is a mean of"
    )
    args = parser.parse_args()
    path = Path(args.out) / "retention_reward.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []
    if len(rows) < args.pages:
        bench = Bench()
        pages = asked_pages("train", args.pages + OTHERS + NEUTRAL, SEED)
        asks = [
            Request(bench.base, f"{one.page.title}\n", temperature=1.0, max_tokens=TOKENS, seed=i)
            for i, one in enumerate(pages[-NEUTRAL:])
        ]
        texts = [(str(found.request.prompt), found.text) for (found,) in bench.model.generate(asks)]
        neutral = [one for one in texts if one[1].strip()]
        for place in range(len(rows), args.pages):
            began = time.process_time()
            others = pages[place + 1 : place + 1 + OTHERS]
            row = measured(bench, pages[place], others, neutral, args.seeds, SEED + place)
            rows.append({**row, "cpu_s": time.process_time() - began})
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(rows[-1]) + "\n")
            print(f"page {place + 1} of {args.pages}: {rows[-1]['cpu_s']:.1f} CPU s", flush=True)
    shown = [f"{fmean(value for row in rows for value in row[name]):.3f} {name}" for name in ("lost", "gain", "kl")]
    print(f"{len(rows)} pages, means: {', '.join(shown)}")
    for name in ("lost-1 with lost-2", *PREDICTORS):
        a, b = ("lost-1", "lost-2") if name.startswith("lost") else (name, "lost")
        if a in rows[0] and b in rows[0]:
            pairs: list[Pairs] = [list(zip(row[a], row[b], strict=True)) for row in rows]
            found = spearman(pairs, within=True, seed=0)
            print(f"{name}, rank correlation with what is lost, within a page: {found}")


if __name__ == "__main__":
    main()
