"""How often equal methods are told apart, and how often an interval misses the truth.

    python benchmarks/false_alarms.py [--quick] [--repeats 1000] [--json out.json] [--markdown out.md]

Scores are right or wrong. On the logit scale they have effects of context and query, shared by all methods, and effects
of method x context, seed (everything stochastic, training included), and cell (seed x context), separate for each
method. All methods have the same distribution, so every verdict is a false alarm. The standard deviations are
assumptions, in :data:`WORLDS`: `calm` is close to the spread of the measured lab runs; in `restless` training the
policy again moves a run as much as single contexts do. Everything goes through the code that the commands use.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from harness import stats
from harness.evidence.compare import compare
from harness.evidence.gate.verdict import check_all
from harness.evidence.leaderboard.summary import summarise
from harness.evidence.result import SCHEMA, Card, ModelCard, ResultFile, Row, TaskItems, make_row, single_table
from harness.evidence.sources import Source
from harness.files import write_text

QUERIES = 5


@dataclass(frozen=True)
class World:
    """Standard deviations on the logit scale."""

    name: str
    context: float = 1.0
    query: float = 0.8
    method_context: float = 0.3
    seed: float = 0.15
    cell: float = 0.4
    uneven: float = 0.0
    """Standard deviation of the logarithm of a method's seed deviation: how much methods differ in it."""

    def probabilities(
        self, rng: np.random.Generator, methods: int, seeds: int, contexts: int, repeats: int = 1
    ) -> np.ndarray:
        """Chances of a right answer, ``[repeat, method, seed, context, query]``."""

        def effect(size: float, *shape: int) -> np.ndarray:
            return rng.normal(0, size, (repeats, *shape)) if size else np.zeros((1,) * (len(shape) + 1))

        own = self.seed * np.exp(effect(self.uneven, methods, 1, 1, 1))
        level = (
            effect(self.context, 1, 1, contexts, 1)
            + effect(self.query, 1, 1, contexts, QUERIES)
            + effect(self.method_context, methods, 1, contexts, 1)
            + own * rng.normal(0, 1, (repeats, methods, seeds, 1, 1))
            + effect(self.cell, methods, seeds, contexts, 1)
        )
        return np.asarray(1 / (1 + np.exp(-level)))

    def scores(self, rng: np.random.Generator, methods: int, seeds: int, contexts: int) -> np.ndarray:
        """Scores ``[method, seed, context, query]``, 0 or 1."""
        chance = self.probabilities(rng, methods, seeds, contexts)[0]
        return (rng.random(chance.shape) < chance).astype(np.float64)


CALM, RESTLESS = World("calm"), World("restless", seed=0.4)
UNEVEN = World("uneven", seed=0.3, uneven=0.8)
WORLDS = (CALM, RESTLESS)


def result_file(scores: np.ndarray) -> ResultFile:
    """Scores ``[method, seed, context, query]`` as the result file of a run."""
    methods, seeds, contexts, queries = scores.shape
    items = tuple((f"c{c}", tuple(f"c{c}/{q}" for q in range(queries))) for c in range(contexts))
    flat = scores.reshape(methods, seeds, -1)
    rows: list[Row] = [
        make_row(
            scores=one.tolist(), status=["o" * one.shape[1]] * seeds, queries=one.shape[1], method=f"m{place}",
            plugin="simulated", card=Card(), protocol="single", editor_model="simulated", start_model="", conditions={},
            seeds=tuple(range(seeds)),
        )
        for place, one in enumerate(flat)
    ]  # fmt: skip
    task = TaskItems("simulated", "1", "test", "right", items)
    tables = single_table(task, rows)
    return ResultFile(SCHEMA, "simulated", "measured", "benchmarks/false_alarms.py", ModelCard("simulated"), {}, tables)


def compared(world: World, seeds: int, contexts: int, accept: bool) -> Callable[[np.random.Generator], bool]:
    """Whether ``compare`` gives a verdict on two equal rows."""

    def once(rng: np.random.Generator) -> bool:
        found = result_file(world.scores(rng, 2, seeds, contexts))
        a, b = (Source(row.method, found, row) for row in found.rows)
        return compare(a, b, accept_one_seed=accept).verdict != "inconclusive"

    return once


def gated(world: World, seeds: int, contexts: int, accept: bool) -> Callable[[np.random.Generator], bool]:
    """Whether the gate fails a run that is as good as its baseline."""

    def once(rng: np.random.Generator) -> bool:
        scores = world.scores(rng, 2, seeds, contexts)
        base, head = result_file(scores[:1]), result_file(scores[1:])
        return check_all(base, head, accept_one_seed=accept)[0].verdict == "regressed"

    return once


def separated(world: World, methods: int, seeds: int, contexts: int) -> Callable[[np.random.Generator], bool]:
    """Whether a leaderboard of equal methods tells any two apart."""

    def once(rng: np.random.Generator) -> bool:
        found = summarise(result_file(world.scores(rng, methods, seeds, contexts)))
        return any(one.ranks is not None and one.ranks != stats.RankSet(1, methods) for one in found)

    return once


def asked_thrice(world: World, methods: int, contexts: int) -> Callable[[np.random.Generator], bool]:
    """Whether a leaderboard tells apart equal methods that were each trained once and asked with three seeds."""

    def once(rng: np.random.Generator) -> bool:
        scores = np.repeat(world.scores(rng, methods, 1, contexts), 3, axis=1)
        return any(one.rank is not None for one in summarise(result_file(scores)))

    return once


def missed(world: World, seeds: int, contexts: int) -> Callable[[np.random.Generator], bool]:
    """Whether the interval of a row misses its true score."""
    truth = float(world.probabilities(np.random.default_rng(1), 1, 200, 2000, 1).mean())

    def once(rng: np.random.Generator) -> bool:
        scores = world.scores(rng, 1, seeds, contexts)[0]
        table = stats.cluster(scores.reshape(seeds, -1).tolist(), [QUERIES] * contexts, range(seeds))
        found = stats.mean_interval(table)
        return found is None or not found.low <= truth <= found.high

    return once


@dataclass(frozen=True)
class Figure:
    """One line of the report."""

    what: str
    world: str
    methods: int
    seeds: int
    contexts: int
    share: float
    repeats: int

    @property
    def error(self) -> float:
        return float(np.sqrt(self.share * (1 - self.share) / self.repeats))


def share(once: Callable[[np.random.Generator], bool], repeats: int, root: Sequence[int]) -> float:
    """The share of repeats in which ``once`` returns true."""
    rng = np.random.default_rng(root)
    return float(np.mean([once(rng) for _ in range(repeats)]))


def figures(repeats: int, *, quick: bool = False) -> list[Figure]:
    """All figures; ``quick`` leaves out most sizes."""
    out: list[Figure] = []

    def add(what: str, world: World, methods: int, seeds: int, contexts: int, once: Callable[..., bool]) -> None:
        out.append(measured(what, world, methods, seeds, contexts, once, repeats))

    for world in WORLDS:
        for seeds in (1, 3) if quick else (1, 2, 3, 5):
            for contexts in (2, 8, 32) if quick else (2, 8, 32, 100):
                if contexts >= stats.MIN_CONTEXTS and seeds == 1:
                    name = "compare, --accept-one-seed: better or worse"
                    add(name, world, 2, 1, contexts, compared(world, 1, contexts, True))
                add("compare: better or worse", world, 2, seeds, contexts, compared(world, seeds, contexts, False))
        for seeds in (1, 3) if quick else (1, 2, 3, 5):
            for contexts in (32,) if quick else (8, 32, 100):
                add("gate: regressed", world, 2, seeds, contexts, gated(world, seeds, contexts, False))
        for seeds in (3,) if quick else (2, 3, 5):
            for contexts in (32,) if quick else (8, 32, 100):
                add("interval of a row misses its score", world, 1, seeds, contexts, missed(world, seeds, contexts))
    return out + boards(max(50, repeats // 4), quick=quick)


def boards(repeats: int, *, quick: bool = False) -> list[Figure]:
    """The figures of leaderboards."""
    sizes = [(10, seeds, contexts) for seeds in (2, 3, 5) for contexts in (32, 100)]
    out = [
        measured(
            "board: equal methods separated", world, methods, seeds, contexts,
            separated(world, methods, seeds, contexts), repeats if methods == 10 else max(50, repeats // 2),
        )
        for world in (*WORLDS, UNEVEN)
        for methods, seeds, contexts in ([(10, 3, 32)] if quick else [*sizes, (30, 3, 32)])
    ]  # fmt: skip
    once = asked_thrice(RESTLESS, 10, 32)
    return [*out, measured("board: trained once, asked with 3 seeds: ranked", RESTLESS, 10, 3, 32, once, repeats)]


def measured(
    what: str, world: World, methods: int, seeds: int, contexts: int, once: Callable[..., bool], repeats: int
) -> Figure:
    """One figure; its random draws depend on its own parameters alone."""
    place = [sum(map(ord, what + world.name)), methods, seeds, contexts]
    one = Figure(what, world.name, methods, seeds, contexts, share(once, repeats, place), repeats)
    print(f"{what:49} {world.name:9} {methods:3} {seeds:2} {contexts:4}  {one.share:.3f} ± {one.error:.3f}", flush=True)
    return one


def page(found: Sequence[Figure], command: str) -> str:
    """The figures as a Markdown page."""
    lines = [
        f"<!-- made by `{command} --markdown benchmarks/FALSE_ALARMS.md` -->",
        "# How often equal methods are told apart",
        "",
        f"Simulated on the logit scale, {QUERIES} queries per context; the standard deviations of the worlds:",
        "",
        "| world | context | query | method x context | seed | cell | log of a method's seed deviation |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {one.name} | {one.context:g} | {one.query:g} | {one.method_context:g} | {one.seed:g} | {one.cell:g} | "
            f"{one.uneven:g} |"
            for one in (*WORLDS, UNEVEN)
        ),
        "",
        "All methods are equal: every share below is one of errors (s.e. in brackets).",
        "",
        "| what | world | methods | seeds | contexts | share | of |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.what} | {one.world} | {one.methods} | {one.seeds} | {one.contexts} | "
        f"{100 * one.share:.1f}% ({100 * one.error:.1f}) | {one.repeats} |"
        for one in found
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--quick", action="store_true", help="a few sizes, 100 repeats: half a minute")
    reader.add_argument("--repeats", type=int, help="1000 by default")
    reader.add_argument("--json", type=Path, help="write the figures here too")
    reader.add_argument("--markdown", type=Path, help="write them as a page (benchmarks/FALSE_ALARMS.md)")
    given = reader.parse_args()
    repeats = given.repeats or (100 if given.quick else 1000)
    started = time.monotonic()
    found = figures(repeats, quick=given.quick)
    print(f"{time.monotonic() - started:.0f} s")
    if given.json:
        write_text(given.json, json.dumps([asdict(one) for one in found], indent=1) + "\n")
    if given.markdown:
        command = "python benchmarks/false_alarms.py" + (" --quick" if given.quick else f" --repeats {repeats}")
        write_text(given.markdown, page(found, command))


if __name__ == "__main__":
    main()
