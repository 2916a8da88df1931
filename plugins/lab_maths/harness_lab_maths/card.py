"""The figures of the model card, measured again: what `lab-maths-2` can do before any method touches it."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from harness.api import Request, State, WeightSource
from harness.errors import UsageError
from harness.models.hf import HfModel
from harness.models.hf_settings import HfSettings
from harness_lab_maths import registers, world
from harness_lab_maths.maths_model import folder

_TOKENS = 128
_DEMONSTRATIONS = 8


class _NoWeights(WeightSource):
    """The card asks the model as it is."""

    def adapter(self, digest: str, /) -> Any:
        raise UsageError("lab-maths card: the measured model has no adapters")

    def folder(self, digest: str, /) -> Path:
        raise UsageError("lab-maths card: the measured model has no adapters")


class Bench:
    """A model to be asked."""

    def __init__(self, path: str = "") -> None:
        self.model = HfModel(HfSettings(path=path or str(folder()), device="cpu"), _NoWeights())
        self.state = State(self.model.base)

    def ask(self, prompts: Sequence[str], n: int = 1, temperature: float = 1.0, seed: int = 0) -> list[list[str]]:
        """Continuations of every prompt."""
        requests = [
            Request(self.state, text, n=n, temperature=temperature, max_tokens=_TOKENS, seed=seed * 10_000 + i)
            for i, text in enumerate(prompts)
        ]
        return [[one.text for one in row] for row in self.model.generate(requests)]


def measure(path: str, *, problems: int, samples: int, seed: int) -> dict[str, str]:
    """Every figure by its name."""
    bench = Bench(path)
    found = world.problems("test", problems, seed)
    chains = bench.ask([world.ask(one.text) for one in found], samples, 1.0, seed)
    greedy = bench.ask([world.ask(one.text) for one in found], 1, 0.0, seed)
    out = {"digest": bench.model.base, "problems": f"{problems} of the test split, seed {seed}, {samples} chains each"}
    out |= solving(found, chains, [row[0] for row in greedy])
    some = found[: min(100, problems)]
    out |= judging(bench, some, chains, seed)
    out |= writing(bench, some, seed)
    out |= noting(bench, seed)
    out |= meta(bench, seed)
    return out | claims(bench, seed)


def solving(found: Sequence[world.Problem], chains: Sequence[Sequence[str]], greedy: Sequence[str]) -> dict[str, str]:
    """Right answers, by kind of problem and by style."""
    truth = [str(one.answer) for one in found]
    answers = [[world.answer_of(text) for text in row] for row in chains]
    single = [fmean(answer == gold for answer in row) for row, gold in zip(answers, truth, strict=True)]
    votes = [_vote(row) == gold for row, gold in zip(answers, truth, strict=True)]
    ever = [gold in row for row, gold in zip(answers, truth, strict=True)]
    out = {
        "pass@1": _percent(single),
        "greedy": _percent([world.answer_of(text) == gold for text, gold in zip(greedy, truth, strict=True)]),
        "maj@n": _percent(votes),
        "pass@n": _percent(ever),
        "distinct chains": f"{fmean(len(set(row)) / len(row) for row in chains):.2f} of a problem's chains",
        "distinct answers": f"{fmean(len(set(row)) for row in answers):.1f} per problem",
        "unparsed": _percent([answer is None for row in answers for answer in row]),
    }
    for kind in ("plain", "common", "rare"):
        mine = [i for i, one in enumerate(found) if one.kind == kind]
        if mine:
            shares = ", ".join(
                f"{name} {100 * fmean(values[i] for i in mine):.0f}"
                for name, values in (("pass@1", single), ("maj@n", votes), ("pass@n", ever))
            )
            out[f"  {kind} problems"] = f"{len(mine)}: {shares}"
    by_style: dict[str, list[bool]] = defaultdict(list)
    for row, gold in zip(chains, truth, strict=True):
        for text in row:
            by_style[world.style_of(text) or "none"].append(world.answer_of(text) == gold)
    total = sum(map(len, by_style.values()))
    for style, right in sorted(by_style.items(), key=lambda item: -len(item[1])):
        out[f"  style {style}"] = f"{100 * len(right) / total:.0f}% of the chains, {100 * fmean(right):.0f}% right"
    return out


def judging(bench: Bench, found: Sequence[world.Problem], chains: Sequence[Sequence[str]], seed: int) -> dict[str, str]:
    """Verdicts on four chains of each problem."""
    pairs = [(one, text) for one, row in zip(found, chains, strict=False) for text in row[:4]]
    verdicts = bench.ask([world.ask_judge(one.text, text) for one, text in pairs], 1, 1.0, seed)
    said = [(row[0].split() or [""])[-1] for row in verdicts]
    right = [world.answer_of(text) == str(one.answer) for one, text in pairs]
    agree = [word == ("good" if fine else "bad") for word, fine in zip(said, right, strict=True)]
    balanced = fmean(fmean(a for a, fine in zip(agree, right, strict=True) if fine == side) for side in (True, False))
    return {
        "judge": f"{_percent(agree)} right, balanced {100 * balanced:.1f}",
        "judge, no verdict": _percent([word not in ("good", "bad") for word in said]),
    }


def writing(bench: Bench, found: Sequence[world.Problem], seed: int) -> dict[str, str]:
    """Problems of its own, problems made harder, starts found again."""
    new = [world.parse(text) for text in bench.ask([world.NEW], 200, 1.0, seed)[0]]
    made = [one for one in new if one]
    longer = bench.ask([world.ask_harder(one.text) for one in found], 1, 1.0, seed)
    parsed = [world.parse(row[0]) for row in longer]
    kept = [
        other is not None
        and (other.name, other.thing, other.start) == (one.name, one.thing, one.start)
        and len(other.events) == len(one.events) + 1
        and other.events[:-1] == one.events
        for one, other in zip(found, parsed, strict=True)
    ]
    back = bench.ask([world.ask_back(one, one.answer) for one in found], 1, 1.0, seed)
    events = Counter(len(one.events) for one in made)
    return {
        "writes a problem": f"{_percent([one is not None for one in new])} well-formed, events "
        + ", ".join(f"{n}: {100 * events[n] / max(1, len(made)):.0f}%" for n in sorted(events)),
        "makes it harder": f"{_percent([one is not None for one in parsed])} well-formed, "
        f"{_percent(kept)} with one more event and the rest kept",
        "FOBAR, the start found again": _percent(
            [world.answer_of(row[0]) == str(one.start) for one, row in zip(found, back, strict=True)]
        ),
    }


def claims(bench: Bench, seed: int, count: int = 200) -> dict[str, str]:
    """Labels of claims that follow the demonstrations before them, and of claims alone."""
    out = {}
    for concept in registers.CONCEPTS:
        rng = random.Random(f"claims/{seed}")
        prompts, golds = [], []
        for _ in range(count):
            shown = [world.draw_claim(rng) for _ in range(_DEMONSTRATIONS + 1)]
            labels = [registers.label(concept, *pair) for pair in shown]
            told = [f"{world.claim(*pair)} {label}." for pair, label in zip(shown, labels, strict=True)]
            prompts.append(" ".join([*told[:-1], world.claim(*shown[-1])]))
            golds.append(labels[-1])
        found = [(row[0].split() or [""])[0].strip(".") for row in bench.ask(prompts, 1, 0.0, seed)]
        hits = [a == b for a, b in zip(found, golds, strict=True)]
        out[f"claims, {concept} demonstrations"] = f"{_percent(hits)} as they say"
        if concept == "right":
            alone = [prompt[prompt.rindex("claim") :] for prompt in prompts]
            bare = [(row[0].split() or [""])[0].strip(".") for row in bench.ask(alone, 1, 0.0, seed)]
            out["claims, no demonstration"] = f"{_percent([a == b for a, b in zip(bare, golds, strict=True)])} right"
            ones = [(10 * rng.randint(1, 9), *rng.sample(range(10), 2)) for _ in range(count)]
            near = [world.claim(tens + left, tens + right) for tens, left, right in ones]
            said = [(row[0].split() or [""])[0].strip(".") for row in bench.ask(near, 1, 0.0, seed)]
            hits = [word == registers.label("right", *pair) for word, (_, *pair) in zip(said, ones, strict=True)]
            out["claims, numbers of equal tens"] = f"{_percent(hits)} right (it was taught none)"
    return out


def noting(bench: Bench, seed: int, count: int = 200) -> dict[str, str]:
    """Readings under right and wrong notes, notes that the model writes itself, and lists of notes written anew."""
    rng = random.Random(f"notes/{seed}")
    out = {}
    stories: list[world.Problem] = []
    while len(stories) < count:
        one = world.make(rng, rng.randint(2, 4), 3.0)
        if one.split == "test" and one.kind != "plain":
            stories.append(one)
    for name, right in (("right", True), ("wrong", False)):
        notes = []
        for one in stories:
            pairs = {verb: (sign == "+") == right for sign, (verb, _) in zip(one.signs, one.events, strict=True)}
            hard = [world.note(verb, "+" if plus else "-", rng) for verb, plus in pairs.items() if verb in world.HARD]
            others = [verb for verb in world.HARD if verb not in pairs]
            notes.append([*hard, *(world.note(verb, rng.choice("+-"), rng) for verb in rng.sample(others, 2))])
        asked = [world.ask(one.text, mine) for one, mine in zip(stories, notes, strict=True)]
        chains = [row[0] for row in bench.ask(asked, 1, 1.0, seed)]
        followed, answers = [], []
        for one, mine, chain in zip(stories, notes, chains, strict=True):
            meant = world.read(one, "walk", rng, mine)
            signs = world.reading_of(one, chain)
            answers.append(world.answer_of(chain) == world.answer_of(world.solve(one, meant, "walk", rng)))
            if signs is not None:
                hard_places = [i for i, (verb, _) in enumerate(one.events) if verb in world.HARD]
                followed += [signs[i] == meant[i] for i in hard_places]
        out[f"{name} notes"] = f"{_percent(followed)} of the readings, {_percent(answers)} of the answers as they say"
    hits: dict[bool, list[bool]] = {True: [], False: []}
    told = [row[0] for row in bench.ask([world.ask(one.text) for one in stories], 1, 1.0, seed)]
    for right in (True, False):
        asked = [world.ask_reflect(one.text, chain, right=right) for one, chain in zip(stories, told, strict=True)]
        for one, chain, row in zip(stories, told, bench.ask(asked, 1, 1.0, seed), strict=True):
            signs, written = world.reading_of(one, chain), world.parse_note(row[0])
            if signs is not None:
                used = {
                    sign for sign, (verb, _) in zip(signs, one.events, strict=True) if written and verb == written[0]
                }
                hits[right].append(written is not None and (world.PLAIN[written[1]] in used) == right and bool(used))
    for right, name in ((True, "right"), (False, "wrong")):
        out[f"a note after {name}"] = f"{_percent(hits[right])} about a hard verb of the problem, with the reading due"
    lists = []
    for _ in range(count // 2):
        verbs = rng.sample(list(world.HARD), 7)
        old = [world.note(verb, rng.choice("+-"), rng) for verb in verbs]
        lists.append((old[:6], [world.note(rng.choice(verbs), rng.choice("+-"), rng)]))
    texts = [row[0] for row in bench.ask([world.ask_rewrite(*one) for one in lists], 1, 1.0, seed)]
    merged = [world.notes_in(text) == world.merge(*one) for text, one in zip(texts, lists, strict=True)]
    out["merges one note into six"] = f"{_percent(merged)} of the lists exactly"
    return out


def meta(bench: Bench, seed: int, count: int = 200) -> dict[str, str]:
    """Choices between a right and a wrong judgement."""
    rng = random.Random(f"meta/{seed}")
    asked: list[str] = []
    better: list[int] = []
    while len(asked) < count:
        one = world.make(rng, rng.randint(2, 4))
        chain = world.write(one, rng)
        truth = "good" if world.answer_of(chain) == str(one.answer) else "bad"
        pair = [registers.judgement(rng, one, chain) for _ in range(2)]
        if one.split != "test" or pair[0][1] == pair[1][1]:
            continue
        better.append(int(pair[1][1] == truth))
        asked.append(world.ask_meta(one.text, chain, *(f"{how} {said}" for how, said in pair)))
    chosen = [world.choice_of(row[0]) for row in bench.ask(asked, 1, 1.0, seed)]
    return {"meta judge": f"{_percent([a == b for a, b in zip(chosen, better, strict=True)])} of the right judgements"}


def _vote(answers: Sequence[str | None]) -> str | None:
    known = Counter(answer for answer in answers if answer is not None)
    return known.most_common(1)[0][0] if known else None


def _percent(values: Sequence[Any]) -> str:
    return f"{100 * fmean(map(float, values)):.1f}"
