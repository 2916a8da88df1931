"""The judge: a role of a state. It marks answers, and compares judgements, in prompts that a file words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from harness.api import Completion, Prompt, Request, Session, State
from harness.errors import RunError
from harness.registry import prompt_files
from harness_self_judging.elo import Match
from harness_self_judging.marks import Scale, expected, probabilities

PROMPTS = "harness_self_judging:prompts.toml"
Positive = Annotated[int, Field(ge=1)]
Temperature = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True)
class JudgeSettings:
    """How answers are judged. The defaults are Self-Rewarding's (arXiv 2401.10020, section 3.1)."""

    prompts: str = PROMPTS
    """A file of prompts: the plugin's or your own. An entry also states ``marks`` and the ``pattern`` of a mark."""
    judge_prompt: str = "additive"
    """A key in that file; the placeholders are ``{question}`` and ``{answer}``."""
    judge_score: Literal["sampled", "expected", "direct"] = "sampled"
    """``sampled``: the mark that is written. ``expected``: in its place, the mean of all marks under the next-token
    distribution after the same working. ``direct``: that mean right after the prompt, with nothing written before."""
    judge_integer: bool = False
    """With ``expected`` and ``direct``: the most probable mark in place of the mean of all."""
    judgements: Positive = 3
    """Judgements per answer, which are averaged; those without a mark are dropped and counted. ``direct`` takes 1."""
    judge_temperature: Temperature = 0.7
    """Sampling temperature of judgements."""
    judge_top_p: Share = 0.9
    """Nucleus sampling of judgements."""
    judge_max_tokens: Positive = 512
    """New tokens per judgement."""


@dataclass(frozen=True)
class Judgement:
    """One judgement of one answer."""

    prompt: Prompt
    text: str
    score: float | None
    """None where no mark on the scale can be read."""


@dataclass(frozen=True)
class Rating:
    """All judgements of one answer."""

    judgements: tuple[Judgement, ...]

    @property
    def scores(self) -> list[float]:
        """Those that could be read."""
        return [one.score for one in self.judgements if one.score is not None]

    @property
    def mean(self) -> float | None:
        """None where no judgement could be read."""
        return sum(self.scores) / len(self.scores) if self.scores else None

    @property
    def variance(self) -> float:
        """Of the judgements that could be read, around their mean; 0 for fewer than two."""
        mean = self.mean
        if mean is None or len(self.scores) < 2:
            return 0.0
        return sum((score - mean) ** 2 for score in self.scores) / len(self.scores)


class Judge:
    """Marks answers as any state would; which state judges is said in every call."""

    def __init__(self, settings: JudgeSettings) -> None:
        self._settings = settings
        self._form = prompt_files.load(settings.prompts, settings.judge_prompt, ("question", "answer"))
        self.scale = _scale(self._form)

    def rate(self, s: Session, state: State, asked: Sequence[tuple[str, str]], *name: object) -> list[Rating]:
        """Judgements of (question, answer) pairs by a state. Equal pairs are judged once.

        Args:
            name: of the seeds, which depend on the texts too and not on their order.

        Raises:
            RunError: a judgement was lost.
        """
        different = list(dict.fromkeys(asked))
        chat = "chat" in s.lm(state).can
        prompts = [self._form.fill({"question": q, "answer": a}, chat=chat) for q, a in different]
        if self._settings.judge_score == "direct":
            written = [[""] for _ in different]
            found = [[score] for score in self._expected(s, state, [(prompt, _space(prompt)) for prompt in prompts])]
        else:
            own = self._settings
            seeds = [s.seed(*name, "judge", q, a) for q, a in different]
            sampling = (own.judgements, own.judge_temperature, own.judge_top_p, own.judge_max_tokens)
            written = asks(s, state, prompts, seeds, *sampling)
            found = self._scored(s, state, prompts, written)
        ratings = {
            pair: Rating(tuple(Judgement(prompt, text, score) for text, score in zip(texts, row, strict=True)))
            for pair, prompt, texts, row in zip(different, prompts, written, found, strict=True)
        }
        return [ratings[pair] for pair in asked]

    def _scored(
        self, s: Session, state: State, prompts: Sequence[Prompt], written: Sequence[Sequence[str]]
    ) -> list[list[float | None]]:
        marks = [[self.scale.read(text) for text in texts] for texts in written]
        if self._settings.judge_score == "sampled":
            return [[None if mark is None else self.scale.values[mark[0]] for mark in row] for row in marks]
        before = {
            (prompt, text[: mark[1]]): None
            for prompt, texts, row in zip(prompts, written, marks, strict=True)
            for text, mark in zip(texts, row, strict=True)
            if mark is not None
        }
        scores = dict(zip(before, self._expected(s, state, list(before)), strict=True))
        return [
            [None if mark is None else scores[prompt, text[: mark[1]]] for text, mark in zip(texts, row, strict=True)]
            for prompt, texts, row in zip(prompts, written, marks, strict=True)
        ]

    def _expected(self, s: Session, state: State, places: Sequence[tuple[Prompt, str]]) -> list[float | None]:
        """The expected score at each place: a prompt, and what was written up to the mark."""
        values = self.scale.values
        asked = [(state, prompt, begun + mark) for prompt, begun in places for mark in values]
        found = iter(s.lm(state).logprobs(asked) if asked else ())
        out: list[float | None] = []
        for _ in places:
            shares = probabilities({mark: next(found) for mark in values})
            if self._settings.judge_integer:
                score = values[max(shares, key=lambda mark: shares[mark])]
            else:
                score = expected(values, shares)
            out.append(score if math.isfinite(score) else None)
        return out


@dataclass(frozen=True)
class Contest:
    """Two judgements of one answer, to be compared in the order in which they stand here."""

    question: str
    answer: str
    first: str
    second: str


class MetaJudge:
    """Compares two judgements of one answer; the caller shows each pair in both orders."""

    def __init__(self, prompts: str, key: str) -> None:
        self._form = prompt_files.load(prompts, key, ("question", "answer", "first", "second"))
        self._scale = _scale(self._form)
        self._middle = sum(self._scale.values.values()) / len(self._scale.values)

    def compare(
        self, s: Session, state: State, contests: Sequence[Contest], temperature: float, max_tokens: int, *name: object
    ) -> list[bool | None]:
        """Whether the first wins, contest by contest; None where the verdict cannot be read.

        The lower mark of the prompt's scale is the first one's win.
        """
        chat = "chat" in s.lm(state).can
        prompts = [self._form.fill({**vars(one)}, chat=chat) for one in contests]
        seeds = [s.seed(*name, "meta-judge", *vars(one).values()) for one in contests]
        rows = asks(s, state, prompts, seeds, 1, temperature, 1.0, max_tokens)
        marks = [self._scale.read(row[0]) for row in rows]
        return [None if mark is None else self._scale.values[mark[0]] < self._middle for mark in marks]


def matches(pairings: Sequence[tuple[int, int]], wins: Sequence[bool | None]) -> list[Match]:
    """The contests of one answer's judgements with their results."""
    return [Match(first, second, win) for (first, second), win in zip(pairings, wins, strict=True)]


def asks(
    s: Session, state: State, prompts: Sequence[Prompt], seeds: Sequence[int], n: int, temperature: float,
    top_p: float, max_tokens: int,
) -> list[list[str]]:  # fmt: skip
    """``n`` texts per prompt; "" where the model could not take the prompt.

    Raises:
        RunError: a text was lost.
    """
    rows = s.generate(
        [
            Request(state, prompt, n=n, temperature=temperature, top_p=top_p, max_tokens=max_tokens, seed=seed)
            for prompt, seed in zip(prompts, seeds, strict=True)
        ]
    )
    return [[text_of(one) for one in row] for row in rows]


def text_of(one: Completion) -> str:
    """Its text; "" where it failed. Raises :class:`RunError` where it was lost."""
    if one.finish == "error":
        raise RunError(f"an answer of the model was lost: {one.reason or 'no reason given'}")
    return "" if one.finish == "failed" else one.text


def _scale(form: prompt_files.PromptForm) -> Scale:
    return Scale.parse(form.extras.get("marks", ""), form.extras.get("pattern", ""), form.where)


def _space(prompt: Prompt) -> str:
    """What stands between a raw prompt and a mark that follows it at once."""
    return " " if isinstance(prompt, str) and not prompt[-1:].isspace() else ""
