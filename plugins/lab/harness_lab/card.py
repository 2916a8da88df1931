"""Measure the figures of the model card: what `lab-1` can do, and what one update teaches it from which text.

These are properties of the model. `harness run` and `benchmarks/lab_effects.py` measure what methods achieve with it.
"""

import random
from collections.abc import Sequence
from dataclasses import asdict
from statistics import fmean, stdev

from harness.api import Request, Split
from harness_lab.bench import Bench
from harness_lab.grids_task import LabGrids
from harness_lab.pretraining.batches import RESIDENT_SEED
from harness_lab.pretraining.edits import STYLES
from harness_lab.pretraining.mix import fill, prompts, residents
from harness_lab.quality import quality
from harness_lab.world.facts import World
from harness_lab.world.squad import AskedPage, asked_pages


def measure(path: str, *, pages: int, seed: int) -> dict[str, str]:
    """Every figure by its name, in per cent, with the standard error over pages if pages are the unit."""
    bench, found = Bench(path), asked_pages("test", pages, seed)
    none = [bench.base] * pages
    out = {"digest": bench.model.base, "test pages": f"{pages}, seed {seed}"}
    out["closed book, before any update"] = _percent(bench.accuracy(found, none))
    out["page in the prompt (reading)"] = _percent(bench.accuracy(found, none, open_book=True))
    out |= {f"residents, {name}": f"{100 * value:.1f}" for name, value in resident_accuracy(bench, seed).items()}
    out |= {f"grids, direct, {name}": f"{100 * value:.1f}" for name, value in grid_accuracy(bench, seed).items()}
    for style in STYLES:
        row = edit_quality(bench, found, style, seed)
        shares = ", ".join(f"{name} {100 * row[name]:.0f}" for name in ("recall", "stated", "wrong", "vague", "copied"))
        out[f"edit {style}"] = f"{row['lines']:.1f} lines; {shares}"
    out |= {
        f"after an update on {name}": _percent(values) for name, values in update_accuracy(bench, found, seed).items()
    }
    return out


def resident_accuracy(bench: Bench, seed: int) -> dict[str, float]:
    """Closed-book accuracy on facts from pre-training, by how they were taught; up to 200 facts each."""
    world = World(random.Random(seed))
    known = residents(RESIDENT_SEED)
    groups = {
        "asked": [r for r in known if r.asked and not r.paragraphs],
        "never asked": [r for r in known if not r.asked and not r.paragraphs],
        "in paragraphs, asked": [r for r in known if r.asked and r.paragraphs],
    }
    out = {}
    for name, mine in groups.items():
        every = [fact for resident in mine for fact in resident.facts]
        facts = world.rng.sample(every, min(200, len(every)))
        asked = [fill(prompts()["closed"], title=world.title(), question=world.question(f)) for f in facts]
        found = bench.answers([(bench.base, text) for text in asked])
        out[name] = fmean(a == f.value for a, f in zip(found, facts, strict=True))
    return out


def edit_quality(bench: Bench, pages: Sequence[AskedPage], style: str, seed: int) -> dict[str, float]:
    """Mean quality over one edit per page, sampled at temperature 1."""
    edits = bench.edits(pages, style, seed=seed)
    rows = [asdict(quality(edit, one.page)) for one, (edit,) in zip(pages, edits, strict=True)]
    return {name: fmean(row[name] for row in rows) for name in rows[0]}


def update_accuracy(bench: Bench, pages: Sequence[AskedPage], seed: int) -> dict[str, list[float]]:
    """Accuracy by page after one update on the page, on its facts in plain statements, or on another page's facts."""
    world = World(random.Random(seed))
    stated = [[world.statement(f) for f in one.page.facts] for one in pages]
    texts = {
        "the page": [[one.page.text] for one in pages],
        "its facts, one statement per line": stated,
        "its facts, one paragraph": [[" ".join(mine)] for mine in stated],
        "another page's facts, one per line": [*stated[1:], stated[0]],
    }
    return {name: bench.learnt(pages, mine, seed=seed) for name, mine in texts.items()}


def grid_accuracy(bench: Bench, seed: int) -> dict[str, float]:
    """Accuracy of greedy direct answers to 90 puzzles of families known from pre-training, and of held-out ones."""
    task = LabGrids(LabGrids.Settings(train=90, test=90, seed=seed))
    splits: dict[str, Split] = {"families of pre-training": "train", "held-out families": "test"}
    out = {}
    for name, split in splits.items():
        asked = [
            (query, references[query.id][0]) for episode, references in task.load(split) for query in episode.queries
        ]
        requests = [
            Request(bench.base, task.prompt(query, {}, chat=False), max_tokens=64, stop=task.text.stop)
            for query, _ in asked
        ]
        found = bench.model.generate(requests)
        out[name] = fmean(task.extract(q, one.text) == gold for (q, gold), (one,) in zip(asked, found, strict=True))
    return out


def _percent(values: Sequence[float]) -> str:
    error = stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return f"{100 * fmean(values):.1f} ± {100 * error:.1f}"
