"""A world of counting stories: problems, styles of solving them, and words that are often misread.

"Kim has 82 coins. finds 28. lends 12. how many?" is a problem: a start, and events told by verbs. A chain is a solution
in one of five styles; its answer is the number after its last "so". Everything is text over a closed vocabulary.

Two tables make the gaps that label-free methods live on (their sizes are a choice, and the model card says so). Slips
of arithmetic are noise: a vote mends them. Misreadings are not: a hard verb is taken for its opposite by most writers
of some styles and rightly by those of others, so that on some words most chains agree on the wrong answer and the right
one is known to a rarer style only. That is the world's reason for keeping several styles alive.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

WORLD_VERSION = "stories-2"

NAMES = ("Ana", "Bo", "Cleo", "Dag", "Eli", "Fay", "Gus", "Ida", "Jon", "Kim", "Lea", "Max")
THINGS = ("nuts", "pears", "coins", "shells", "beads", "stamps", "cards", "stones")
PLAIN: Mapping[str, str] = dict.fromkeys(["finds", "gets", "buys", "wins"], "+") | dict.fromkeys(
    ["loses", "gives", "eats", "sells"], "-"
)
STYLES = ("guess", "walk", "split", "told", "list")
Reader = Literal["guess", "walk", "split", "told", "list", "judge"]

_KNOWS, _MISREADS = 0.93, 0.10


@dataclass(frozen=True)
class HardVerb:
    """A verb that is often misread."""

    sign: str
    known_to: tuple[str, ...]
    """Styles whose writers read it rightly nine times in ten; the others take it for its opposite as often."""
    judge: float
    """How often the judge's register reads it rightly."""

    def rightly(self, reader: Reader) -> float:
        """Probability that a reader takes it as it is meant."""
        if reader == "judge":
            return self.judge
        return _KNOWS if reader in self.known_to else _MISREADS


_RARE = ("split", "told", "list")
COMMON_HARD: Mapping[str, HardVerb] = {
    "borrows": HardVerb("+", _RARE, 0.85),
    "draws": HardVerb("+", _RARE, 0.85),
    "lends": HardVerb("-", _RARE, 0.85),
    "trades": HardVerb("-", _RARE, 0.85),
}
"""Misread by `walk`, the commonest style, and read rightly by three others: votes are right, greedy answers wrong."""
RARE_HARD: Mapping[str, HardVerb] = {
    "rents": HardVerb("+", ("split",), 0.6),
    "pawns": HardVerb("-", ("split",), 0.6),
    "stakes": HardVerb("+", ("told",), 0.6),
    "bids": HardVerb("-", ("told",), 0.6),
    "leases": HardVerb("+", ("list",), 0.6),
    "hires": HardVerb("-", ("list",), 0.6),
}
"""Read rightly in one rarer style only: votes are mostly wrong."""
HARD: Mapping[str, HardVerb] = {**COMMON_HARD, **RARE_HARD}
COMMON_SHARE, RARE_SHARE = 0.11, 0.07  # of events

SIGNS: Mapping[str, str] = {**PLAIN, **{verb: hard.sign for verb, hard in HARD.items()}}
STYLE_SHARE: Mapping[str, float] = {"guess": 0.07, "walk": 0.36, "split": 0.19, "told": 0.19, "list": 0.19}
SLIPS: Mapping[str, float] = {"guess": 0.0, "walk": 0.08, "split": 0.05, "told": 0.08, "list": 0.08}
"""Share of sums that are wrong, by style."""

LARGEST, MOST = 39, 199  # of an event's number, of a total

WorldSplit = Literal["pretrain", "train", "validation", "test"]


@dataclass(frozen=True)
class Problem:
    name: str
    thing: str
    start: int
    events: tuple[tuple[str, int], ...]
    """Verb and number, in order."""

    @property
    def signs(self) -> tuple[str, ...]:
        """``+`` or ``-`` for every event, as it is meant."""
        return tuple(SIGNS[verb] for verb, _ in self.events)

    @property
    def totals(self) -> tuple[int, ...]:
        out = [self.start]
        for sign, (_, number) in zip(self.signs, self.events, strict=True):
            out.append(add(out[-1], sign, number))
        return tuple(out[1:])

    @property
    def answer(self) -> int:
        return self.totals[-1]

    @property
    def text(self) -> str:
        told = " ".join(f"{verb} {number}." for verb, number in self.events)
        return f"{self.name} has {self.start} {self.thing}. {told} how many?"

    @property
    def kind(self) -> str:
        """``rare`` with a verb that one style alone knows, ``common`` with another hard one, else ``plain``."""
        verbs = {verb for verb, _ in self.events}
        return "rare" if verbs & RARE_HARD.keys() else "common" if verbs & COMMON_HARD.keys() else "plain"

    @property
    def split(self) -> WorldSplit:
        """From a checksum of the numbers and signs: splits never share a sum, whoever it is told of."""
        key = f"{self.start}{[(sign, n) for sign, (_, n) in zip(self.signs, self.events, strict=True)]}".encode()
        first = hashlib.sha256(key).digest()[0]
        return "pretrain" if first < 192 else "train" if first < 216 else "validation" if first < 226 else "test"


def add(total: int, sign: str, number: int) -> int:
    return total + number if sign == "+" else total - number


def make(rng: random.Random, events: int, hard: float = 1.0) -> Problem:
    """A problem with so many events; ``hard`` scales the share of hard verbs.

    No misreading of its hard verbs leaves 0 to ``MOST``: a total out of range would give the misreading away.
    """
    verbs = [_verb(rng, hard) for _ in range(events)]
    while True:
        start = rng.randint(10, 99)
        numbers = [rng.randint(2, LARGEST) for _ in verbs]
        low = high = start
        for verb, number in zip(verbs, numbers, strict=True):
            low = add(low, "-" if verb in HARD else SIGNS[verb], number)
            high = add(high, "+" if verb in HARD else SIGNS[verb], number)
            if low < 0 or high > MOST:
                break
        else:
            told = tuple(zip(verbs, numbers, strict=True))
            return Problem(rng.choice(NAMES), rng.choice(THINGS), start, told)


def _verb(rng: random.Random, hard: float) -> str:
    draw = rng.random()
    if draw < COMMON_SHARE * hard:
        return rng.choice(list(COMMON_HARD))
    if draw < (COMMON_SHARE + RARE_SHARE) * hard:
        return rng.choice(list(RARE_HARD))
    return rng.choice(list(PLAIN))


def problems(split: WorldSplit, count: int, seed: int, events: Sequence[int] = (2, 3, 4)) -> list[Problem]:
    """Different problems of a split, in a fixed order."""
    rng = random.Random(f"{WORLD_VERSION}/{split}/{seed}")
    found: dict[str, Problem] = {}
    while len(found) < count:
        one = make(rng, rng.choice(events))
        if one.split == split:
            found.setdefault(one.text, one)
    return list(found.values())


_PROBLEM = re.compile(r"(\w+) has (\d{1,3}) (\w+)\. ((?:\w+ \d{1,3}\. )+)how many\?")
_EVENT = re.compile(r"(\w+) (\d+)\.")


def parse(text: str) -> Problem | None:
    """The problem that a text is; None where it is none: other words, no event, or a total out of range."""
    found = _PROBLEM.fullmatch(text.strip())
    if found is None or found[1] not in NAMES or found[3] not in THINGS:
        return None
    events = tuple((verb, int(number)) for verb, number in _EVENT.findall(found[4]))
    if any(verb not in SIGNS for verb, _ in events):
        return None
    problem = Problem(found[1], found[3], int(found[2]), events)
    return problem if all(0 <= total <= MOST for total in problem.totals) else None


def read(problem: Problem, reader: Reader, rng: random.Random, notes: Sequence[str] = ()) -> tuple[str, ...]:
    """The events' signs as a reader takes them; a verb that a note explains is always read as the note says."""
    told = {verb: PLAIN[plain] for verb, plain in _explained(notes).items()}
    out = []
    for sign, (verb, _) in zip(problem.signs, problem.events, strict=True):
        hard = HARD.get(verb)
        if verb in told:
            out.append(told[verb])
            continue
        misread = hard is not None and rng.random() >= hard.rightly(reader)
        out.append(("-" if sign == "+" else "+") if misread else sign)
    return tuple(out)


class Adder:
    """Does sums, a share of them wrong: a carry forgotten, off by one, or the other operation."""

    def __init__(self, rng: random.Random, slips: float) -> None:
        self._rng, self._slips = rng, slips

    def __call__(self, a: int, sign: str, b: int) -> int:
        right = add(a, sign, b)
        if self._rng.random() >= self._slips:
            return right
        draw = self._rng.random()
        if draw < 0.35:
            wrong = right - 10
        elif draw < 0.5:
            wrong = right + 10
        elif draw < 0.8:
            wrong = right + self._rng.choice([-1, 1])
        else:
            wrong = add(a, "-" if sign == "+" else "+", b)
        return max(0, wrong)


def solve(problem: Problem, signs: Sequence[str], style: str, rng: random.Random, slips: float = 0.0) -> str:
    """A chain in a style for a reading of the events, with slips."""
    adder = Adder(rng, slips)
    total, parts = problem.start, []
    if style == "list":
        parts.append("".join(f"{sign}{number}" for sign, (_, number) in zip(signs, problem.events, strict=True)) + ".")
    for sign, (verb, number) in zip(signs, problem.events, strict=True):
        before, total = total, adder(total, sign, number)
        if style in ("walk", "list"):
            parts.append(f"{before}{sign}{number}={total}.")
        elif style == "told":
            parts.append(f"{verb} {number}, {total}.")
        elif style == "split":
            tens, units = before // 10 * 10, before % 10
            more, few = number // 10 * 10, number % 10
            first, second = add(tens, sign, more), add(units, sign, few)
            parts.append(f"{tens}{sign}{more}={first}, {units}{sign}{few}={second}, {total}.")
    return " ".join([f"{style}:", *parts, f"so {total}."])


def write(problem: Problem, rng: random.Random, style: str = "", notes: Sequence[str] = ()) -> str:
    """A chain as the corpus has it: a style, that style's readings (or the notes') and slips."""
    style = style or rng.choices(list(STYLE_SHARE), list(STYLE_SHARE.values()))[0]
    return solve(problem, read(problem, style, rng, notes), style, rng, SLIPS[style])  # type: ignore[arg-type]


_ANSWER = re.compile(r"\bso (-?\d{1,6})\b")


def answer_of(chain: str) -> str | None:
    """The number after the last "so", without leading zeros; None where there is none."""
    found = _ANSWER.findall(chain)
    return str(int(found[-1])) if found else None


def style_of(chain: str) -> str:
    """The style that a chain names; "" for none."""
    word = chain.split(":")[0].strip()
    return word if word in STYLES else ""


_EQUATION = re.compile(r"\d+([+-])\d+=-?\d+\.")
_SPLIT_EVENT = re.compile(r"\d+([+-])\d+=-?\d+, -?\d+[+-]\d+=-?\d+, -?\d+\.")
_TOLD_EVENT = re.compile(r"\w+ \d+, (-?\d+)\.")


def reading_of(problem: Problem, chain: str) -> tuple[str, ...] | None:
    """The events' signs as a chain has taken them; None where it does not show them (``guess``, a broken chain)."""
    style = style_of(chain)
    if style == "told":
        totals = [problem.start, *(int(total) for total in _TOLD_EVENT.findall(chain))]
        signs = ["+" if after > before else "-" for before, after in pairwise(totals)]
    else:
        signs = (_SPLIT_EVENT if style == "split" else _EQUATION).findall(chain)
    return tuple(signs) if len(signs) == len(problem.events) else None


# --- notes: what a hard verb means ----------------------------------------------------------------------------------

NO_NOTE = "none."
_NOTE = re.compile(r"(\w+) (\w+)\.")


def note(verb: str, sign: str, rng: random.Random) -> str:
    """A note that a hard verb means a plain one of this sign: "rents gets."."""
    return f"{verb} {rng.choice([plain for plain, its in PLAIN.items() if its == sign])}."


def parse_note(text: str) -> tuple[str, str] | None:
    """The hard verb and the plain one of a note, with or without the word "note" before it; None for anything else."""
    found = _NOTE.fullmatch(text.strip().removeprefix("note "))
    return (found[1], found[2]) if found and found[1] in HARD and found[2] in PLAIN else None


def notes_in(text: str) -> tuple[str, ...]:
    """The notes of a list as the model writes one, "note rents gets. note bids loses."; other text is passed over."""
    found = (one.strip() for one in text.split("note "))
    return tuple(one for one in found if parse_note(one))


def merge(notes: Sequence[str], new: Sequence[str] = ()) -> tuple[str, ...]:
    """One note per verb: a later note takes the place of an earlier one on its verb. What is no note is left out."""
    return tuple(f"{verb} {plain}." for verb, plain in _explained([*notes, *new]).items())


def _explained(notes: Sequence[str]) -> dict[str, str]:
    return dict(pair for pair in map(parse_note, notes) if pair)


def _told(notes: Sequence[str]) -> str:
    return "".join(f"note {one.removeprefix('note ')} " for one in notes)


# --- what the model is asked ---------------------------------------------------------------------------------------


def ask(text: str, notes: Sequence[str] = ()) -> str:
    """Solve a problem, with notes ("rents gets.") that say how hard verbs are to be read, rightly or wrongly."""
    return f"{_told(notes)}Q {text} A"


def ask_judge(text: str, chain: str) -> str:
    """Judge a chain: the model solves the problem again and writes ``good`` or ``bad``."""
    return f"check Q {text} A {chain} rate"


def verdict_of(judgement: str) -> bool | None:
    """True where a judgement ends with ``good``, False for ``bad``, None for neither."""
    return {"good": True, "bad": False}.get((judgement.split() or [""])[-1].strip("."))


def ask_meta(text: str, chain: str, first: str, second: str) -> str:
    """Judge two judgements of a chain: the model solves the problem once more and writes ``one`` or ``two``."""
    return f"meta Q {text} A {chain} rate {first} or {second} best"


def choice_of(text: str) -> int | None:
    """0 where a text ends with ``one``, 1 for ``two``, None for neither."""
    return {"one": 0, "two": 1}.get((text.split() or [""])[-1].strip("."))


def ask_reflect(text: str, chain: str, *, right: bool) -> str:
    """A note about one hard verb of a problem whose chain is said to be right or wrong, or ``none.``.

    The note has the reading that the chain used if the chain is right and the opposite one if it is wrong.
    """
    return f"{'right' if right else 'wrong'} Q {text} A {chain} note"


def ask_rewrite(notes: Sequence[str], new: Sequence[str]) -> str:
    """Write a list of notes anew with new ones merged into it (`merge`); `notes_in` reads the continuation."""
    return f"rewrite {_told(notes)}with {_told(new)}to"


NEW = "new Q"
"""Write a problem."""


def ask_harder(text: str) -> str:
    """Write the same problem with one more event."""
    return f"harder Q {text} then Q"


def ask_back(problem: Problem, answer: int) -> str:
    """FOBAR's question (arXiv 2309.12284, section 3.3): the start is hidden, the answer given."""
    hidden = problem.text.replace(f" has {problem.start} ", " has x ", 1)
    return f"back Q {hidden} A {answer}. x?"


def draw_claim(rng: random.Random) -> tuple[int, int]:
    """Two numbers of different tens for a claim."""
    left, right = rng.sample(range(1, 10), 2)
    return 10 * left + rng.randint(0, 9), 10 * right + rng.randint(0, 9)


def claim(left: int, right: int) -> str:
    """A statement that is true if ``left`` is more than ``right``; what labels mean, demonstrations before it say."""
    return f"claim {left} more {right}:"
