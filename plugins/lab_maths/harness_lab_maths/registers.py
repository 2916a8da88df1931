"""What the model is pre-trained on: documents of every register, as segments with loss weights."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from harness_lab_maths import world
from harness_lab_maths.world import Problem

MIX_VERSION = "mix-1"
Document = list[tuple[str, float]]

DOCUMENTS: Mapping[str, float] = {
    "solve": 0.47,
    "judge": 0.20,
    "new": 0.04,
    "harder": 0.10,
    "back": 0.08,
    "claims": 0.11,
}
"""Share of documents."""
EVENTS: Mapping[int, float] = {1: 0.15, 2: 0.28, 3: 0.30, 4: 0.20, 5: 0.07}
NEW_EVENTS: Mapping[int, float] = {1: 0.45, 2: 0.32, 3: 0.16, 4: 0.07}
NEW_HARD = 0.5  # hard verbs in written problems, as a share of what solved ones have
JUDGE_SLIPS, JUDGE_NOISE = 0.05, 0.05
CONCEPTS: Mapping[str, float] = {"right": 0.52, "inverted": 0.38, "even": 0.06, "none": 0.04}
"""What the labels of a document of claims follow. Only the demonstrations tell which it is."""

PROMPT, WRITTEN, VERDICT = 0.1, 1.0, 2.0


def document(rng: random.Random) -> Document:
    """One document: what the model has to write weighs 1 or more, what it is asked little."""
    kind = _pick(rng, DOCUMENTS)
    if kind == "claims":
        return claims(rng)
    if kind == "solve":
        problem = _problem(rng, _pick(rng, EVENTS))
        return [(world.ask(problem.text), PROMPT), (world.write(problem, rng), WRITTEN)]
    if kind == "judge":
        return judge(rng)
    if kind == "new":
        problem = _problem(rng, _pick(rng, NEW_EVENTS), NEW_HARD)
        return [(world.NEW, 0.0), (problem.text, WRITTEN)]
    if kind == "harder":
        problem = _problem(rng, rng.choice([1, 2, 2, 3, 3, 4]))
        return [(world.ask_harder(problem.text), PROMPT), (harder(rng, problem).text, WRITTEN)]
    problem = _problem(rng, rng.choice([1, 1, 2, 2, 3]))
    return [(world.ask_back(problem, problem.answer), PROMPT), (backward(rng, problem), WRITTEN)]


def judge(rng: random.Random) -> Document:
    """A verdict on a chain: solve again, reading better than most, and subtract the two answers."""
    problem = _problem(rng, rng.choice([1, 2, 2, 3, 3, 4]))
    chain = world.write(problem, rng)
    again = world.solve(problem, world.read(problem, "judge", rng), "walk", rng, JUDGE_SLIPS)
    ours, theirs = int(world.answer_of(again) or 0), int(world.answer_of(chain) or 0)
    good = (ours == theirs) != (rng.random() < JUDGE_NOISE)
    working = f"{again.removeprefix('walk: ')} {theirs}-{ours}={theirs - ours}."
    verdict = "good" if good else "bad"
    return [(world.ask_judge(problem.text, chain), PROMPT / 2), (working, WRITTEN), (verdict, VERDICT)]


def harder(rng: random.Random, problem: Problem) -> Problem:
    """The same problem with one more event at its end."""
    while True:
        more = world.make(rng, 1)
        longer = Problem(problem.name, problem.thing, problem.start, (*problem.events, *more.events))
        if 0 <= longer.answer <= world.MOST:
            return longer


def backward(rng: random.Random, problem: Problem) -> str:
    """The hidden start, worked out from the answer, last event first."""
    total, parts = problem.answer, []
    adder = world.Adder(rng, JUDGE_SLIPS)
    signs = world.read(problem, "judge", rng)
    for sign, (_, number) in reversed(list(zip(signs, problem.events, strict=True))):
        undo = "-" if sign == "+" else "+"
        before, total = total, adder(total, undo, number)
        parts.append(f"{before}{undo}{number}={total}.")
    return " ".join([*parts, f"so {total}."])


def claims(rng: random.Random) -> Document:
    """Claims with labels by one concept, which the later labels show ever more clearly."""
    concept = _pick(rng, CONCEPTS)
    out: Document = []
    for _ in range(rng.randint(3, 11)):
        left, right = rng.randint(2, 99), rng.randint(2, 99)
        out.append((world.claim(left, right), 0.02))
        out.append(("true" if label(concept, left, right, rng) else "false", VERDICT))
        out.append((".", 0.0))
    return out


def label(concept: str, left: int, right: int, rng: random.Random) -> bool:
    """A claim's label under a concept."""
    if concept == "none":
        return rng.random() < 0.5
    return left % 2 == 0 if concept == "even" else (left > right) != (concept == "inverted")


def _problem(rng: random.Random, events: int, hard: float = 1.0) -> Problem:
    while True:
        one = world.make(rng, events, hard)
        if one.split == "pretrain":
            return one


def _pick(rng: random.Random, shares: Mapping[Any, float]) -> Any:
    return rng.choices(list(shares), list(shares.values()))[0]
