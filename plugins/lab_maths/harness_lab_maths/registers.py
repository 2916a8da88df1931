"""What the model is pre-trained on: documents of every register, as segments with loss weights."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

from harness_lab_maths import world
from harness_lab_maths.world import Problem

MIX_VERSION = "mix-2"
Document = list[tuple[str, float]]

EVENTS: Mapping[int, float] = {1: 0.15, 2: 0.28, 3: 0.30, 4: 0.20, 5: 0.07}
REFLECTED_EVENTS: Mapping[int, float] = {1: 0.40, 2: 0.30, 3: 0.20, 4: 0.10}
NEW_EVENTS: Mapping[int, float] = {1: 0.45, 2: 0.32, 3: 0.16, 4: 0.07}
NEW_HARD = 0.5  # hard verbs in written problems, as a share of what solved ones have
NOTED_HARD = 3.0  # and in problems that notes are about
RELEVANT = 0.75  # of the hard verbs of such a problem have a note
JUDGE_SLIPS, JUDGE_NOISE = 0.03, 0.05
BACK_SLIPS = 0.02
CONCEPTS: Mapping[str, str] = {"right": "right", "inverted": "wrong"}
"""What the labels of a document of claims follow, and the word that says so in some of them."""
NAMED = 0.3
RIGHT = 0.7  # of reflections are on a chain that is said to be right

PROMPT, WRITTEN, VERDICT = 0.05, 1.0, 2.0
COPIED = 5.0
"""Names and things matter nowhere but where a problem is made harder, and are not copied there if they weigh little."""


def document(rng: random.Random) -> Document:
    """One document: what the model has to write weighs 1 or more, what it is asked little."""
    write: Callable[[random.Random], Document] = _pick(rng, DOCUMENTS)
    return write(rng)


def solve(rng: random.Random) -> Document:
    """A problem and a chain."""
    problem = _problem(rng, _pick(rng, EVENTS))
    return [(world.ask(problem.text), PROMPT), (world.write(problem, rng), WRITTEN)]


def noted(rng: random.Random) -> Document:
    """A problem with one to six notes, right and wrong ones alike, and a chain that reads as they say."""
    problem = _problem(rng, _pick(rng, EVENTS), NOTED_HARD)
    notes = _notes(rng, rng.randint(1, 6), problem)
    return [(world.ask(problem.text, notes), PROMPT), (world.write(problem, rng, notes=notes), WRITTEN)]


def reflect(rng: random.Random) -> Document:
    """A note about one hard verb of a problem, from a chain that is said to be right or wrong.

    Right and wrong are said by chance, so that the model goes by the word and not by its own opinion. Right is said
    more often: with as many of both, nothing but word and reading together tells the note, which is not found out.
    """
    problem = _problem(rng, _pick(rng, REFLECTED_EVENTS), NOTED_HARD)
    style = rng.choice([style for style in world.STYLES if style != "guess"])  # a guess does not show its reading
    signs = world.read(problem, style, rng)  # type: ignore[arg-type]
    chain = world.solve(problem, signs, style, rng, world.SLIPS[style])
    right = rng.random() < RIGHT
    hard = [(verb, sign) for sign, (verb, _) in zip(signs, problem.events, strict=True) if verb in world.HARD]
    told = world.NO_NOTE
    if hard:
        verb, sign = rng.choice(hard)
        told = world.note(verb, sign if right else _other(sign), rng)
    return [(world.ask_reflect(problem.text, chain, right=right), PROMPT), (told, 2 * VERDICT)]


def rewrite(rng: random.Random) -> Document:
    """A list of notes with one to three new ones merged into it."""
    whole = _notes(rng, rng.randint(1, 8))
    new = [*whole[len(whole) - rng.randint(1, min(3, len(whole))) :]]
    notes = whole[: len(whole) - len(new)]
    if notes and rng.random() < 0.6:  # a new note on a verb that has one
        verb = notes[rng.randrange(len(notes))].split()[0]
        new[-1] = world.note(verb, rng.choice("+-"), rng)
    merged = " ".join(f"note {one}" for one in world.merge(notes, new))
    return [(world.ask_rewrite(notes, new), PROMPT), (merged, WRITTEN)]


def judge(rng: random.Random) -> Document:
    """A verdict on a chain: solve again, reading better than most, and subtract the two answers."""
    problem = _problem(rng, rng.choice([1, 2, 2, 3, 3, 4]))
    chain = world.write(problem, rng)
    working, verdict = judgement(rng, problem, chain)
    return [(world.ask_judge(problem.text, chain), PROMPT), (working, WRITTEN), (verdict, VERDICT)]


def judgement(rng: random.Random, problem: Problem, chain: str) -> tuple[str, str]:
    """The working of a judgement and its verdict."""
    again = world.solve(problem, world.read(problem, "judge", rng), "walk", rng, JUDGE_SLIPS)
    ours, theirs = int(world.answer_of(again) or 0), int(world.answer_of(chain) or 0)
    good = (ours == theirs) != (rng.random() < JUDGE_NOISE)
    return f"{again.removeprefix('walk: ')} {theirs}-{ours}={theirs - ours}.", "good" if good else "bad"


def meta(rng: random.Random) -> Document:
    """The better one of two judgements: whose verdict is that of a third, or else whose answer is that of a third."""
    problem = _problem(rng, rng.choice([1, 2, 2, 3, 3, 4]))
    chain = world.write(problem, rng)
    working, verdict = judgement(rng, problem, chain)
    for _ in range(20):
        given = [judgement(rng, problem, chain) for _ in range(2)]
        if given[0][1] != given[1][1] or rng.random() < 0.02:
            break
    else:  # too rarely of two opinions: one judgement has its verdict turned round
        wrong = rng.randrange(2)
        given[wrong] = (given[wrong][0], "bad" if given[wrong][1] == "good" else "good")
    worth = [(said == verdict, world.answer_of(how) == world.answer_of(working)) for how, said in given]
    better = rng.randrange(2) if worth[0] == worth[1] else int(worth[1] > worth[0])
    asked = world.ask_meta(problem.text, chain, *(f"{how} {said}" for how, said in given))
    return [(asked, PROMPT), (working, WRITTEN), ("two" if better else "one", VERDICT)]


def new(rng: random.Random) -> Document:
    """A problem out of nothing."""
    return [(world.NEW, 0.0), (_problem(rng, _pick(rng, NEW_EVENTS), NEW_HARD).text, WRITTEN)]


def made_harder(rng: random.Random) -> Document:
    """A problem and the same with one more event."""
    problem = _problem(rng, rng.choice([1, 2, 2, 3, 3, 4, 4]))
    name, has, start, rest = harder(rng, problem).text.split(" ", 3)
    thing, rest = rest.split(" ", 1)
    asked = world.ask_harder(problem.text)
    return [(asked, 0.0), (name, COPIED), (f"{has} {start}", WRITTEN), (thing, COPIED), (rest, WRITTEN)]


def harder(rng: random.Random, problem: Problem) -> Problem:
    """The same problem with one more event at its end."""
    while True:
        more = world.make(rng, 1)
        longer = Problem(problem.name, problem.thing, problem.start, (*problem.events, *more.events))
        if 0 <= longer.answer <= world.MOST:
            return longer


def back(rng: random.Random) -> Document:
    """FOBAR's question and the working that answers it."""
    problem = _problem(rng, rng.choice([1, 2, 2, 3, 3, 4]))
    return [(world.ask_back(problem, problem.answer), PROMPT), (backward(rng, problem), WRITTEN)]


def backward(rng: random.Random, problem: Problem) -> str:
    """The hidden start, worked out from the answer, last event first."""
    total, parts = problem.answer, []
    adder = world.Adder(rng, BACK_SLIPS)
    signs = world.read(problem, "judge", rng)
    for sign, (_, number) in reversed(list(zip(signs, problem.events, strict=True))):
        undo = _other(sign)
        before, total = total, adder(total, undo, number)
        parts.append(f"{before}{undo}{number}={total}.")
    return " ".join([*parts, f"so {total}."])


def claims(rng: random.Random) -> Document:
    """Several claims whose labels all follow one concept, right or inverted, each equally often.

    Some documents name their concept, a stepping stone: that labels can be inverted is then one word away. In the
    others only earlier labels show it, and the first label teaches nothing.
    """
    concept = rng.choice(list(CONCEPTS))
    named = rng.random() < NAMED
    out: Document = [(CONCEPTS[concept], 0.0)] if named else []
    for place in range(rng.randint(3, 10)):
        left, right = world.draw_claim(rng)
        out.append((world.claim(left, right), 0.0))
        out.append((label(concept, left, right), VERDICT if named or place else 0.0))
        out.append((".", 0.0))
    return out


def claimed(rng: random.Random) -> Document:
    """One claim, labelled with what is so."""
    left, right = world.draw_claim(rng)
    return [(world.claim(left, right), 0.0), (label("right", left, right), 2 * VERDICT), (".", 0.0)]


def label(concept: str, left: int, right: int) -> str:
    """A claim's label, ``true`` or ``false``, under a concept, ``right`` or ``inverted``."""
    return "true" if (left > right) != (concept == "inverted") else "false"


DOCUMENTS: Mapping[Callable[[random.Random], Document], float] = {
    solve: 0.25,
    noted: 0.12,
    judge: 0.12,
    made_harder: 0.09,
    claims: 0.09,
    claimed: 0.08,
    reflect: 0.08,
    back: 0.06,
    rewrite: 0.05,
    meta: 0.03,
    new: 0.03,
}
"""Share of documents."""


def _notes(rng: random.Random, count: int, problem: Problem | None = None) -> list[str]:
    """Notes on different hard verbs, each read rightly or wrongly by chance; of a problem's verbs most have one."""
    hard = list(dict.fromkeys(verb for verb, _ in problem.events if verb in world.HARD)) if problem else []
    verbs = [verb for verb in hard if rng.random() < RELEVANT][:count]
    others = [verb for verb in world.HARD if verb not in hard]
    verbs += rng.sample(others, min(len(others), count - len(verbs)))
    rng.shuffle(verbs)
    return [world.note(verb, rng.choice("+-"), rng) for verb in verbs]


def _other(sign: str) -> str:
    return "-" if sign == "+" else "+"


def _problem(rng: random.Random, events: int, hard: float = 1.0) -> Problem:
    while True:
        one = world.make(rng, events, hard)
        if one.split == "pretrain":
            return one


def _pick(rng: random.Random, shares: Mapping[Any, float]) -> Any:
    return rng.choices(list(shares), list(shares.values()))[0]
