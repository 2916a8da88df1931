"""What one monolithic rewrite makes of a playbook that small changes have built, on the model `lab-maths`.

    OMP_NUM_THREADS=1 python benchmarks/context_collapse.py --temperature 1

Playbooks of ten right notes get insights (70% of them right, as the model's own are), one at a time, in two ways: the
model writes the list anew with the insight in it (`ace-rewrite`), or it is merged by rule (`ace`; nobody tags a bullet
here). Prints, for each seed, how many notes are shown, how many of those are right, and the share of right
answers to problems with a hard verb.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from statistics import fmean

from harness_ace.dialects import Notes
from harness_ace.playbook import Add, Playbook
from harness_lab_maths import world
from harness_lab_maths.card import Bench
from harness_lab_maths.maths_task import LabMaths

RIGHT, TOKENS = 0.7, 64
NOTES = Notes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--playbooks", type=int, default=20)
    parser.add_argument("--problems", type=int, default=10, help="per playbook")
    parser.add_argument("--after", type=int, nargs="+", default=[0, 1, 20], help="insights after which to measure")
    parser.add_argument("--temperature", type=float, default=1.0, help="of the rewriting")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    args = parser.parse_args()
    bench = Bench()
    print("| seed | merge | insights | notes shown | of them right | right answers |\n|---|---|---|---|---|---|")
    for seed in args.seeds:
        rng = random.Random(seed)
        rewritten = merged = [full(rng) for _ in range(args.playbooks)]
        bare = accuracy(bench, [Playbook()] * args.playbooks, args.problems, seed)
        print(f"| {seed} | no playbook | | 0 | 0 | {100 * bare:.1f} |", flush=True)
        for step in range(max(args.after) + 1):
            if step in args.after:
                for name, books in (("rewrite", rewritten), ("delta", merged)):
                    shown, right = (
                        fmean(len(b.shown()) for b in books),
                        fmean(sum(map(is_right, b.shown())) for b in books),
                    )
                    score = accuracy(bench, books, args.problems, seed)
                    print(f"| {seed} | {name} | {step} | {shown:.1f} | {right:.1f} | {100 * score:.1f} |", flush=True)
            insights = [insight(rng) for _ in rewritten]
            prompts = [NOTES.rewrite([text], book, chat=False) for text, book in zip(insights, rewritten, strict=True)]
            texts = bench.ask([str(one) for one in prompts], 1, args.temperature, 1000 * seed + step)
            rewritten = [anew(text, book) for (text,), book in zip(texts, rewritten, strict=True)]
            merged = [book.added(deltas(text)) for text, book in zip(insights, merged, strict=True)]


def full(rng: random.Random) -> Playbook:
    """A right note on every hard verb, in some order."""
    verbs = rng.sample(list(world.HARD), len(world.HARD))
    return Playbook().added([add for verb in verbs for add in deltas(world.note(verb, world.HARD[verb].sign, rng))])


def insight(rng: random.Random) -> str:
    verb = rng.choice(list(world.HARD))
    sign = world.HARD[verb].sign
    return world.note(verb, sign if rng.random() < RIGHT else {"+": "-", "-": "+"}[sign], rng)


def deltas(text: str) -> list[Add]:
    found = NOTES.delta(text)
    assert found is not None, text
    return found[0]


def anew(text: str, book: Playbook) -> Playbook:
    """The list as it was written; where none can be read, it stays as it was, as in the method."""
    found = NOTES.rewritten(text)
    return book if found is None else Playbook(next=book.next).added(found)


def is_right(bullet: object) -> bool:
    verb, plain = str(bullet.text).rstrip(".").split()  # type: ignore[attr-defined]
    return world.PLAIN[plain] == world.HARD[verb].sign


def accuracy(bench: Bench, books: Sequence[Playbook], problems: int, seed: int) -> float:
    """One answer to each of so many problems per playbook, which shows what it has on their verbs."""
    task = LabMaths(LabMaths.Settings(test=8 * problems * len(books), seed=seed))
    rows = [(e.queries[0], gold) for e, gold in task.load("test") if set(e.queries[0].text.split()) & world.HARD.keys()]
    rows = rows[: problems * len(books)]
    prompts = []
    for place, (query, _) in enumerate(rows):
        book = books[place % len(books)]
        prompts.append(str(task.prompt(query, {"playbook": book.as_json(NOTES.render(book.shown()))}, chat=False)))
    said = [
        task.extract(query, text) for (query, _), (text,) in zip(rows, bench.ask(prompts, 1, 1.0, seed), strict=True)
    ]
    return fmean(answer in gold[query.id] for (query, gold), answer in zip(rows, said, strict=True))


if __name__ == "__main__":
    main()
