"""How well a value head predicts the reward of an edit, beside the group's own mean, which RLOO and GRPO use.

    python benchmarks/rewards.py --set preset --pages 60 --seeds 4 --out rewards
    python benchmarks/ppo.py --rewards rewards/preset.jsonl

The rewarded groups are those of `rewards.py`: 5 edits of each page, the reward being the probability of the accepted
answers after one update. A head is linear on the last hidden states of the frozen model that wrote the edits, at the
end of the prompt or at every token, and every page is predicted by a head that never saw it. Heads are ridge
regressions with the best of several penalties, chosen after looking, which is kind to them, and one is trained as PPO
trains it (`ppo_loop.py`). What is printed is the share of the reward's variance that the advantage keeps under each
baseline; intervals are bootstraps over pages. The loop itself is a row of `loops.py`.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ppo_loop
import torch
from harness_lab.bench import SEAL_PROMPTS, Bench
from harness_lab.world.squad import asked_pages
from numpy.typing import NDArray
from rewards import PAGES_SEED
from torch import Tensor

from harness.api import Completion, Request, Rollout
from harness.registry.prompt_files import load

Array = NDArray[np.float64]
PENALTIES = (1e0, 1e1, 1e2, 1e3, 1e4)
ROUND = 15  # the other contexts of a round of `loops.py`
RESAMPLED = 2000


def features(rows: Sequence[dict[str, Any]]) -> list[list[Tensor]]:
    """`[page][edit]`: `[tokens, width + 1]`, the first row being the end of the prompt."""
    bench = Bench()
    pages = asked_pages("train", max(row["page"] for row in rows) + 1, PAGES_SEED)
    cue = str(load(SEAL_PROMPTS, "implications").extras.get("cue", ""))
    out = []
    with bench.model.borrow(bench.base) as (module, tokenizer):
        for row in rows:
            [prompt] = bench.prompts([pages[row["page"]]], "implications")
            mine = []
            for edit in row["edits"]:
                tokens = tuple(tokenizer(edit.removeprefix(cue), add_special_tokens=False)["input_ids"])
                action = Completion(Request(bench.base, prompt), edit, tokens or (tokenizer.eos_token_id,))
                mine.append(ppo_loop.hidden(module, tokenizer, Rollout(action, "", 0.0)))
            out.append(mine)
    return out


def predicted(x: list[list[Tensor]], y: Array, train: Callable[[int], Sequence[int]], fit: Any) -> list[list[Array]]:
    """`[page][edit]`: a value per row of `x`, by a head fitted to the pages `train(page)`."""
    heads: dict[tuple[int, ...], Tensor] = {}
    out = []
    for page in range(len(x)):
        others = tuple(train(page))
        if others not in heads:
            heads[others] = fit([(x[p][e], float(y[p, e])) for p in others for e in range(y.shape[1])])
        out.append([(one @ heads[others]).numpy().astype(np.float64) for one in x[page]])
    return out


def ridge(penalty: float) -> Any:
    """A head in which every edit counts once, however long."""

    def fit(known: Sequence[tuple[Tensor, float]]) -> Tensor:
        x = torch.cat([one * len(one) ** -0.5 for one, _ in known])
        y = torch.cat([torch.full((len(one),), goal * len(one) ** -0.5) for one, goal in known])
        return ppo_loop.ridge(x, y, penalty)

    return fit


def constant(known: Sequence[tuple[Tensor, float]]) -> Tensor:
    """No head: the mean of the rewards."""
    head = torch.zeros(known[0][0].shape[1])
    head[-1] = float(np.mean([goal for _, goal in known]))
    return head


def as_ppo(own: ppo_loop.PpoSettings) -> Any:
    """A head trained from 0, as in one round of the loop."""

    def fit(known: Sequence[tuple[Tensor, float]]) -> Tensor:
        states = [one for one, _ in known]
        old = [torch.zeros(len(one)) for one in states]
        return ppo_loop.trained(torch.zeros(states[0].shape[1]), states, old, [goal for _, goal in known], own, 0)

    return fit


def share(errors: Array, whole: Array, rng: np.random.Generator) -> list[float]:
    """sum(errors) / sum(whole), both `[page]`, with its 95% interval."""
    chosen = rng.integers(0, len(errors), (RESAMPLED, len(errors)))
    drawn = errors[chosen].sum(1) / whole[chosen].sum(1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return [round(float(v), 3) for v in (errors.sum() / whole.sum(), low, high)]


def report(x: list[list[Tensor]], rewards: Array) -> dict[str, Any]:
    """`rewards[page, edit, seed]`; the reward is that of the first seed, the others say what of it is noise."""
    rng = np.random.default_rng(0)
    y, (pages, n) = rewards[:, :, 0], rewards.shape[:2]
    whole = ((y - y.mean()) ** 2).sum(1)
    within = ((y - y.mean(1, keepdims=True)) ** 2).sum(1) * n / (n - 1)
    others_mean = ((y - y.mean(1, keepdims=True)) ** 2).sum(1) * (n / (n - 1)) ** 2
    noise = rewards.var(axis=2, ddof=1).sum(1)

    def left(values: list[list[Array]]) -> list[float]:
        """The mean over the tokens of an edit, then over edits."""
        return share(np.array([
            sum(float(((y[p, e] - values[p][e]) ** 2).mean()) for e in range(n)) for p in range(pages)
        ]), whole, rng)  # fmt: skip

    def others(page: int) -> list[int]:
        return [p for p in range(pages) if p != page]

    def tenths(page: int) -> list[int]:
        return [p for p in range(pages) if p % 10 != page % 10]

    def few(page: int) -> list[int]:
        return sorted(int(p) for p in np.random.default_rng(page).choice(others(page), ROUND, replace=False))

    def best(tables: dict[Any, list[float]]) -> dict[str, Any]:
        which = min(tables, key=lambda one: tables[one][0])
        return {"left": tables[which], "best of": str(which)}

    ends = [[one[:1] for one in page] for page in x]
    found: dict[str, Any] = {
        "pages": pages, "edits of each": n, "variance": round(float(whole.sum() / (pages * n - 1)), 4),
        "noise of the update": share(noise, whole, rng),
        "no baseline": share((y**2).sum(1), whole, rng),
        "mean of the group's others": share(others_mean, whole, rng),
        "perfect head at the prompt's end": share(within, whole, rng),
    }  # fmt: skip
    for size, train in (("all other pages", tenths), (f"{ROUND} pages", few)):
        found[f"mean of {size}"] = left(predicted(ends, y, train, constant))
        for name, table in (("at the prompt's end", ends), ("at every token", x)):
            found[f"head {name}, {size}"] = best({p: left(predicted(table, y, train, ridge(p))) for p in PENALTIES})
        settings = [
            ppo_loop.PpoSettings(value_rate=rate, value_epochs=epochs) for rate in (1e-3, 1e-2) for epochs in (4, 40)
        ]
        tables = {(one.value_rate, one.value_epochs): left(predicted(x, y, train, as_ppo(one))) for one in settings}
        found[f"head trained as PPO does, {size}"] = {**best(tables), **{str(k): v[0] for k, v in tables.items()}}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rewards", type=Path, default=Path("rewards/preset.jsonl"), help="what rewards.py collected")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [json.loads(line) for line in options.rewards.read_text("utf-8").splitlines()]
    rows = [row for row in rows if row["edits"]]
    rewards = np.array([row["full"]["probability"] for row in rows], dtype=np.float64)
    print(json.dumps(report(features(rows), rewards), indent=1))


if __name__ == "__main__":
    main()
