"""What it takes to learn one's open-book answers: supervised, by DPO, and by DPO with an added likelihood.

    python benchmarks/closed_book.py --pages 16
    python benchmarks/closed_book.py --only dpo,3e-3,5,0.1,1     # loss, rate, epochs, beta, weight of the likelihood

The embedded model writes questions on validation pages (seed 77), answers them with the page and without it, and
one adapter for all pages learns the open-book answers, or prefers them to the closed-book ones where the two differ.
Printed is the accuracy on the pages' own questions, which are worded otherwise, with the book closed and open.
"""

import argparse
import time
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from harness_lab.bench import Bench
from harness_lab.pretraining.mix import fill, prompts
from harness_lab.world.squad import AskedPage, asked_pages
from harness_proxy_reward.own_questions import read_pairs

from harness.api import Data, Example, Preference, Request, State, TrainItem
from harness.metrics import normalize

CELLS = (
    "sft,1e-3,5", "sft,3e-3,1", "sft,3e-3,2", "sft,3e-3,5", "sft,3e-3,15",
    "dpo,3e-4,5,0.1,0", "dpo,1e-3,5,0.1,0", "dpo,3e-3,5,0.1,0", "dpo,1e-3,5,1,0", "dpo,3e-3,5,1,0", "dpo,3e-3,5,5,0",
    "dpo,1e-3,15,5,0", "dpo,3e-3,5,0.1,0.2", "dpo,1e-3,5,0.1,1", "dpo,3e-3,5,0.1,1", "dpo,3e-3,5,1,1",
    "dpo,3e-3,15,0.1,1",
)  # fmt: skip
WRITINGS = 8


class Study:
    """Pages with the model's own questions and both of its answers."""

    def __init__(self, pages: int) -> None:
        self.bench = Bench()
        self.pages = asked_pages("validation", pages, 77)
        asked = [(page, question) for page, mine in zip(self.pages, self._written(), strict=True) for question in mine]
        self.prompts = [_fill("closed", page, question) for page, question in asked]
        base = self.bench.base
        self.opened = self.bench.answers([(base, _fill("open", page, question)) for page, question in asked])
        self.closed = self.bench.answers([(base, prompt) for prompt in self.prompts])

    def _written(self) -> list[list[str]]:
        rows = self.bench.model.generate(
            [
                Request(self.bench.base, _fill("self-qa", page, ""), WRITINGS, 1.0, max_tokens=256, seed=place)
                for place, page in enumerate(self.pages)
            ]
        )
        return [list(dict.fromkeys(q for one in row for q, _ in read_pairs("Question 1:" + one.text))) for row in rows]

    def accuracy(self, state: State) -> tuple[float, float]:
        """Closed and open book, in per cent."""
        states = [state] * len(self.pages)
        closed, read = (fmean(self.bench.accuracy(self.pages, states, open_book=one)) for one in (False, True))
        return 100 * closed, 100 * read

    def learnt(self, cell: str) -> State:
        """The state after training as a cell says."""
        kind, rate, epochs, *more = cell.split(",")
        rows = list(zip(self.prompts, self.opened, self.closed, strict=True))
        data: list[Data]
        loss: Any = "sft"
        if kind == "sft":
            data = [Example(prompt, right) for prompt, right, _ in rows if right.strip()]
        else:
            beta, weight = map(float, more)
            loss = {"use": "dpo", "beta": beta, "nll": weight}
            data = [
                Preference(prompt, right, said)
                for prompt, right, said in rows
                if right.strip() and said.strip() and normalize(right) != normalize(said)
            ]
        settings = {
            "rank": 16, "alpha": 32.0, "targets": "all-linear", "learning_rate": float(rate), "epochs": int(epochs),
            "batch_size": 16,
        }  # fmt: skip
        base = self.bench.base
        [done] = self.bench.model.train([TrainItem(cell, base, data, 1, settings)], loss)
        if done.adapter is None:
            raise SystemExit(f"{cell}: {done.reason}")
        self.bench.adapters[cell] = done.adapter
        return State(base.base, (cell,))


def _fill(form: str, page: AskedPage, question: str) -> str:
    return fill(prompts()[form], title=page.page.title, text=page.page.text, question=question)


def main(pages: int, cells: Sequence[str]) -> None:
    study = Study(pages)
    print(
        f"{pages} pages, {len(study.prompts)} questions; loss, rate, epochs, beta, likelihood: closed book, open book"
    )
    print("start: {:.1f}, {:.1f}".format(*study.accuracy(study.bench.base)))
    for cell in cells:
        began = time.process_time()
        state = study.learnt(cell)
        spent = time.process_time() - began
        print("{}: {:.1f}, {:.1f} ({:.0f} s of CPU time)".format(cell, *study.accuracy(state), spent), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=16)
    parser.add_argument("--only", nargs="*", default=CELLS, help="cells to run; all by default")
    given = parser.parse_args()
    main(given.pages, given.only)
