"""What a policy that keeps learning costs: sampling and inner updates after many rounds, for every `start_as`.

    python benchmarks/continued_policy.py --rounds 1 32 128

The model is the lab's. A round trains the policy's adapter (rank 64 on every linear) by one optimiser step on one
page, through a real session and its weight store, at a rate so small that samples keep their length. Then 32 samples
are drawn from the policy, and 8 inner updates (rank 16, 5 steps each) are trained on top of it. Figures are process
CPU seconds on one thread, the minimum of several repeats; ratios are to the figure after the first of the given rounds
that is not 0.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from harness_lab.lab_model import LabModel
from harness_lab.world.squad import asked_pages

from harness.api import Example, Request, SelfEdit, State, TrainItem, UpdateJob
from harness.books.store import WeightStore
from harness.models.hf_settings import HfSettings
from harness.testing import ScriptedTask, open_session
from harness.updaters.lora import Lora, LoraSettings

POLICY = LoraSettings(rank=64, alpha=128.0, targets="all-linear", learning_rate=1e-7, epochs=1)
INNER = {"rank": 16, "alpha": 32.0, "targets": "all-linear", "learning_rate": 1e-3, "epochs": 5}
SAMPLES, TOKENS, UPDATES = 32, 64, 8


class Policy:
    """A policy in its own session, trained round by round."""

    def __init__(self, folder: Path, how: str) -> None:
        self.how, self.folder = how, folder
        weights = WeightStore(folder / "weights")
        self.model = LabModel(HfSettings(path="", device="cpu"), weights)
        self.texts = [page.page.text for page in asked_pages("train", SAMPLES, 1)]
        task = ScriptedTask({"train": {"page": (self.texts[0], {})}})
        slots = {"policy": ("updater", Lora(POLICY))}
        self.session = open_session(folder, task, {"teacher": self.model}, slots, weights=weights)
        self.state = State(self.model.base)
        self.rounds = 0

    def learn(self, rounds: int) -> None:
        """Train until that many rounds are done; states no longer needed are released, as ReST-EM does."""
        while self.rounds < rounds:
            text = self.texts[self.rounds % len(self.texts)]
            start_as = self.how if self.rounds else "stack"
            edit = SelfEdit("edit", "page", (Example("", text),))
            job = UpdateJob(f"round-{self.rounds}", self.state, (edit,), self.rounds, start_as=start_as)  # type: ignore[arg-type]
            [done] = self.session.update("policy", [job])
            assert done.state is not None, done.reason
            before, self.state = self.state, done.state
            if self.rounds:
                self.session.release([before])
            self.rounds += 1

    def sample(self) -> None:
        asks = [
            Request(self.state, text, temperature=1.0, max_tokens=TOKENS, seed=place)
            for place, text in enumerate(self.texts)
        ]
        self.model.generate(asks)

    def update(self) -> None:
        items = [
            TrainItem(str(place), self.state, [Example("", self.texts[place])], place, INNER)
            for place in range(UPDATES)
        ]
        assert all(done.status == "ok" for done in self.model.train(items))

    def disk(self) -> int:
        """Bytes of all weights on disk."""
        return sum(path.stat().st_size for path in (self.folder / "weights").rglob("*") if path.is_file())


def seconds(run: Callable[[], None], repeats: int) -> float:
    """The minimum process CPU time of several runs."""
    run()
    taken = []
    for _ in range(repeats):
        began = time.process_time()
        run()
        taken.append(time.process_time() - began)
    return min(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, nargs="+", default=[0, 1, 32, 128])
    parser.add_argument("--ways", nargs="+", default=["merge", "continue", "fold", "stack"])
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"| start_as | rounds | {SAMPLES} samples, s | ratio | {UPDATES} updates, s | ratio | on disk, MiB |")
    print("|---|---|---|---|---|---|---|")
    for how in options.ways:
        with tempfile.TemporaryDirectory() as folder:
            policy = Policy(Path(folder), how)
            first: tuple[float, float] | None = None
            for rounds in sorted(options.rounds):
                policy.learn(rounds)
                sampled, updated = seconds(policy.sample, options.repeats), seconds(policy.update, options.repeats)
                if rounds:
                    first = first or (sampled, updated)
                one, two = (f"{sampled / first[0]:.2f}", f"{updated / first[1]:.2f}") if first else ("", "")
                mib = policy.disk() / 2**20
                print(f"| {how} | {rounds} | {sampled:.2f} | {one} | {updated:.2f} | {two} | {mib:.1f} |", flush=True)
            policy.session.journal.close()


if __name__ == "__main__":
    main()
