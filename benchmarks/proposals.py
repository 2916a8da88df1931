"""What the proposer of new tasks writes with the embedded model: how much is valid, new and difficult.

    python benchmarks/proposals.py --tasks 200

The start model writes problems as `self-rewarding` asks it to with `proposed`, in rounds of the preset's size, beside
the 128 known problems of the training split. Then it solves what was new, and the known problems, eight times each.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from harness_lab_maths import world
from harness_lab_maths.card import Bench
from harness_lab_maths.maths_task import LabMaths, LabMathsSettings
from harness_self_judging.judge import PROMPTS
from harness_self_judging.proposer import ProposalSettings, Proposer, rouge_l

from harness.testing.scripted import open_session

KNOWN, ROUND, SAMPLES = 128, 50, 8


def proposed(bench: Bench, tasks: int, seed: int) -> tuple[list[str], list[str], dict[str, int]]:
    """Known problems, new ones, and what became of everything that was written."""
    settings = ProposalSettings(
        proposed=ROUND, propose_prompt="lab-maths-new", propose_temperature=1.0, propose_top_p=1.0,
        propose_max_tokens=64, propose_attempts=1,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        task = LabMaths(LabMathsSettings(train=KNOWN, test=100, seed=seed))
        s = open_session(Path(folder), task, {"teacher": bench.model}, {}, sees="context+queries", seed=seed)
        known = [query.text for episode in s.episodes("train") for query in episode.queries]
        proposer = Proposer(settings, PROMPTS)
        proposer.start(known)
        total: dict[str, int] = {}
        made: list[str] = []
        for number in range(tasks // ROUND):
            found, counts = proposer.propose(s.sealed, s.roles["teacher"], "proposals", number)
            made += [query.text for episode in found for query in episode.queries]
            total = {name: total.get(name, 0) + count for name, count in counts.items()}
        s.journal.close()
    return known, made, total


def solved(bench: Bench, texts: Sequence[str], seed: int) -> str:
    """How difficult problems are for the start model, and how they are made up, as cells of a table."""
    problems = [problem for text in texts if (problem := world.parse(text))]
    answers = [
        [world.answer_of(chain) for chain in row]
        for row in bench.ask([world.ask(problem.text) for problem in problems], SAMPLES, 1.0, seed)
    ]
    truth = [str(problem.answer) for problem in problems]
    single = fmean(fmean(one == gold for one in row) for row, gold in zip(answers, truth, strict=True))
    agreement = fmean(max(row.count(one) for one in row) / len(row) for row in answers)
    cells = (
        100 * single,
        100 * agreement,
        100 * fmean(problem.kind != "plain" for problem in problems),
        100 * len(problems) / len(texts),
    )
    events = fmean(len(problem.events) for problem in problems)
    return f"{events:.1f} | " + " | ".join(f"{cell:.1f}" for cell in cells)


def main(tasks: int, seed: int) -> None:
    bench = Bench()
    known, made, counts = proposed(bench, tasks, seed)
    written = counts.pop("written")
    shares = ", ".join(f"{100 * count / written:.1f}% {name}" for name, count in counts.items())
    print(f"{written} written: {100 * len(made) / written:.1f}% new tasks, {shares}")
    words = [text.lower().split() for text in known]
    nearest = [max(rouge_l(text.lower().split(), other) for other in words) for text in made]
    among = [
        max(rouge_l(text, other) for place, other in enumerate(words) if place != at) for at, text in enumerate(words)
    ]
    print(f"ROUGE-L with the nearest known problem: {fmean(nearest):.2f}; of the known ones: {fmean(among):.2f}")
    sums = {(one.start, one.signs, tuple(n for _, n in one.events)) for text in known if (one := world.parse(text))}
    ours = [(one.start, one.signs, tuple(n for _, n in one.events)) for text in made if (one := world.parse(text))]
    print(f"sums that are among the known ones: {sum(one in sums for one in ours)} of {len(ours)}")
    print("| problems | events | pass@1 | agreement | with a hard verb | within the world |\n|---|---|---|---|---|---|")
    for name, texts in (("known", known), ("proposed", made)):
        print(f"| {name} | {solved(bench, texts, seed)} |", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=200, help="proposals to be written")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    main(given.tasks, given.seed)
