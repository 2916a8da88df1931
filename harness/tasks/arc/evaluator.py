"""Grid puzzles: every test input is asked in many forms, and a vote over the answers makes two attempts.

As in Akyürek et al. (arXiv 2411.07279) and SEAL (B.7), each test input is asked greedily in several contexts: every
leave-one-out choice of the demonstrations, each in further orders, and one of them under augmentations whose answers
are turned back. Only an answer that is exactly one grid votes. A test input is right if its solution is among the two
attempts; a puzzle is solved if all its test inputs are right.

The value of *every* query of a puzzle is 1.0 if the puzzle is solved, else 0.0, so that the macro mean over episodes is
the share of puzzles solved, as in the published figures. Whether the query itself was right is ``measures["right"]``.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.api import Ask, Completion, Evaluator, Query, References, Request, Score, Session
from harness.errors import UsageError, nearest
from harness.tasks.arc.augment import IDENTITY, NAMED, Augmenter, draw_order
from harness.tasks.arc.grid import BadGrid, Grid, Lesson, Pair, fits, grid_of
from harness.tasks.arc.task import GridTask, as_grids, demos_of, grid_json
from harness.tasks.arc.vote import vote


@dataclass(frozen=True)
class Shown:
    """One form in which a test input is asked. The inverse of ``by`` turns the answer back; its name is the answer's
    category in the vote."""

    demos: tuple[Pair, ...]
    test: Grid
    by: Augmenter


class Grids(Evaluator):
    """Evaluator of grid puzzles. Decoding is greedy, so all samples of an ask would be equal; one is drawn."""

    @dataclass(frozen=True)
    class Settings:
        leave_n: tuple[int, ...] = (1,)
        """How many demonstrations are left out: 0 shows all of them, 1 makes a context for each one left out."""
        permutations: int = 2
        """Further random orders in which each context's demonstrations are shown."""
        augmentations: tuple[str, ...] = ("transpose", "flip0", "flip1", "rotate90", "rotate180")
        """Augmentations by name; each is applied to one context, drawn at random, which is asked besides."""
        max_tokens: int = 2048
        """Per answer; a grid of 30 x 30 takes about 1900 in the form ``numpy``."""

    def __init__(self, settings: Settings) -> None:
        for name in settings.augmentations:
            if name not in NAMED:
                raise UsageError(f"evaluator grids: no augmentation {name!r}.{nearest(name, NAMED)}")
        self.settings = settings

    def evaluate(
        self, asks: Sequence[Ask], references: Mapping[str, References], s: Session, /
    ) -> Iterator[Sequence[Score]]:
        """The scores of each ask's test inputs; the value of all of them is 1.0 where the puzzle is solved, else 0.0.

        Raises:
            UsageError: the run's task has no grid puzzles.
        """
        task = as_grids(s.task, "evaluator grids")
        # The same questions for every state of a run, so that rows differ only in their states.
        shown = [
            [self.questions(query, random.Random(s.seed("grids", query.id))) for query in ask.episode.queries]
            for ask in asks
        ]
        answers = self._answers(task, asks, shown, s)
        for ask, ways in zip(asks, shown, strict=True):
            yield score_puzzle(
                task, ask, [[(way, next(answers)) for way in one] for one in ways], references[ask.episode.id]
            )

    def questions(self, query: Query, rng: random.Random) -> list[Shown]:
        """The different forms in which a test input is asked."""
        demos, test = demos_of(query.meta), grid_of(query.meta["input"])
        contexts = [context for n in self.settings.leave_n for context in _contexts(demos, n)]
        plain = [Lesson(context, Pair(test, test)) for context in contexts]
        orders = [draw_order(lesson, rng) for lesson in plain for _ in range(self.settings.permutations)]
        different = list(dict.fromkeys(plain + orders))
        ways = [Shown(lesson.demos, test, IDENTITY) for lesson in different]
        for name in self.settings.augmentations:
            lesson = NAMED[name].lesson(rng.choice(different))
            if all(map(fits, lesson.grids())):
                ways.append(Shown(lesson.demos, lesson.test.input, NAMED[name]))
        return ways

    def _answers(
        self, task: GridTask, asks: Sequence[Ask], shown: Sequence[Sequence[Sequence[Shown]]], s: Session
    ) -> Iterator[Completion]:
        """The completions of all questions in their order."""
        requests: list[Request] = []
        for ask, ways in zip(asks, shown, strict=True):
            chat = "chat" in s.lm(ask.state).can
            for way in (way for one in ways for way in one):
                prompt = task.text.prompt(way.demos, way.test, chat=chat)
                requests.append(Request(ask.state, prompt, max_tokens=self.settings.max_tokens, stop=task.text.stop))
        return (completions[0] for completions in s.generate(requests))


def _contexts(demos: tuple[Pair, ...], n: int) -> list[tuple[Pair, ...]]:
    """All choices of demonstrations with ``n`` left out; at least one is always shown."""
    return list(itertools.combinations(demos, len(demos) - n)) if len(demos) > n else [demos]


def score_puzzle(
    task: GridTask, ask: Ask, answers: Sequence[Sequence[tuple[Shown, Completion]]], references: References
) -> list[Score]:
    """The scores of a puzzle's queries; ``answers`` is parallel to them. One ``error`` makes all of them so."""
    scores = [
        _score_query(task, ask, query, given, references[query.id])
        for query, given in zip(ask.episode.queries, answers, strict=True)
    ]
    if broken := next((score for score in scores if score.status == "error"), None):
        return [replace(broken, query=score.query) for score in scores]
    solved = all(score.measures["right"] for score in scores)
    return [replace(score, value=float(solved)) for score in scores]


def _score_query(
    task: GridTask, ask: Ask, query: Query, answers: Sequence[tuple[Shown, Completion]], solutions: Sequence[str]
) -> Score:
    if broken := next((one for _, one in answers if one.finish == "error"), None):
        return Score(ask.episode.id, query.id, None, "error", (), {"reason": broken.reason or "no answer came"})
    votes = []
    for way, completion in answers:
        # A text that was cut off may end in what looks like a whole, smaller grid.
        if completion.finish == "stop":
            try:
                votes.append((way.by.name, way.by.inverse(task.text.parse(completion.text))))
            except BadGrid:
                continue
    attempts = tuple(map(grid_json, vote(votes)))
    right = any(task.same(query, attempt, solution) for attempt in attempts for solution in solutions)
    measures = {"right": float(right), "prompts": len(answers), "unparsed": len(answers) - len(votes)}
    if attempts:
        return Score(ask.episode.id, query.id, 0.0, "ok", attempts, measures)
    refused = all(completion.finish == "failed" for _, completion in answers)
    reason = min(completion.reason for _, completion in answers) if refused else "unparsed"
    return Score(ask.episode.id, query.id, 0.0, "failed", (), {**measures, "reason": reason})
