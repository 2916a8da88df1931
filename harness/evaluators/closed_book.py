"""Ask every question of an episode, and grade the free-text answers.

The protocol of SEAL's knowledge incorporation (arXiv 2506.10943, section 4.1): greedy decoding, 64 new tokens, the
task's prompt, with the passage in it where the state's memory holds it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.api import Ask, Completion, Evaluator, Query, References, Request, Score, Session
from harness.judges.base import Answer, Budget, Grade, Judge
from harness.judges.load import is_remote, load
from harness.metrics import MEASURES


@dataclass(frozen=True)
class ClosedBookSettings:
    """How answers are decoded and graded."""

    judge: str = ""
    """Who grades: ``exact f1 contains recall offline-1 offline-2 openai:MODEL[@URL]``; "" is the task's metric."""
    max_judge_calls: int = field(default=0, metadata={"changes_scores": False})
    """Calls that a remote judge may make; 0 is no limit. Answers beyond the limit are ``error``."""
    max_judge_cost: float = field(default=0.0, metadata={"changes_scores": False})
    """US dollars that a remote judge may spend; 0 is no limit."""
    judge_cache: str = field(default=".harness/judge", metadata={"changes_scores": False})
    """Folder of a remote judge's verdicts, each kept under everything that shapes it."""
    judge_batch: bool = field(default=False, metadata={"changes_scores": False})
    """Whether a remote judge is asked by OpenAI's batch mode: half the price, verdicts within a day; the run parks."""
    max_tokens: int = 64
    """New tokens per answer."""
    temperature: float = 0.0
    """0 is greedy decoding; several samples of an answer differ only above it."""
    judge_template: str = field(default="", metadata={"added_later": True})
    """A prompt file for a remote judge with the key ``judge`` and the placeholders ``{question}``, ``{gold}`` and
    ``{answer}``; "" for the built-in words."""
    after: str = field(default="", metadata={"added_later": True})
    """Only what follows this text is the answer, such as ``Final answer:`` after reasoning; one without it is wrong."""
    stop: tuple[str, ...] = ()
    """Texts that end an answer, besides the model's own end of sequence."""


@dataclass(frozen=True)
class _Answered:
    """One query with its answers: ``texts`` is parallel to ``completions``, None where there is no answer."""

    query: Query
    golds: tuple[str, ...]
    completions: Sequence[Completion]
    texts: Sequence[str | None]


class ClosedBook(Evaluator):
    """Scores answers with one judge, and reports the string measures beside its verdict.

    An empty answer is wrong. A prompt that the model cannot take (over-long) is ``failed`` with the model's reason.
    A missing answer or verdict is ``error``. Where there are several samples, the value is their mean.
    """

    Settings = ClosedBookSettings

    def __init__(self, settings: ClosedBookSettings) -> None:
        self._settings = settings
        self.metric = settings.judge
        self.local = not is_remote(settings.judge)
        self._judges: dict[str, Judge] = {}
        if settings.judge:  # an unusable judge is refused before anything is spent
            self._judge("")

    def evaluate(
        self, asks: Sequence[Ask], references: Mapping[str, References], s: Session, /
    ) -> Iterator[Sequence[Score]]:
        """The scores of each ask's queries; ``measures`` holds the means of the measures of :mod:`harness.metrics`."""
        answered = self._answers(asks, references, s)
        texts = [
            Answer(asked.query.text, asked.golds, text)
            for row in answered
            for asked in row
            for text in asked.texts
            if text is not None and asked.golds
        ]
        verdicts = iter(self._judge(s.task.metric).grade(texts))
        for ask, row in zip(asks, answered, strict=True):
            yield [_score(ask.episode.id, asked, verdicts) for asked in row]

    def _judge(self, metric: str) -> Judge:
        name = self._settings.judge or metric
        if name not in self._judges:
            own = self._settings
            budget = Budget(own.max_judge_calls, own.max_judge_cost, Path(own.judge_cache), own.judge_batch)
            self._judges[name] = load(name, budget, own.judge_template)
        judge = self._judges[name]
        judge.ledger = self.ledger
        return judge

    def _answers(self, asks: Sequence[Ask], references: Mapping[str, References], s: Session) -> list[list[_Answered]]:
        """The answers to every query of every ask."""
        pairs = [(ask, query) for ask in asks for query in ask.episode.queries]
        chat = {ask.state.base: "chat" in s.lm(ask.state).can for ask in asks}
        rows = s.generate([self._request(ask, query, s, chat=chat[ask.state.base]) for ask, query in pairs])
        flat = iter(
            _Answered(
                query,
                tuple(references[ask.episode.id].get(query.id, ())),
                completions,
                [_text(one, query, s, self._settings.after) for one in completions],
            )
            for (ask, query), completions in zip(pairs, rows, strict=True)
        )
        return [[next(flat) for _ in ask.episode.queries] for ask in asks]

    def _request(self, ask: Ask, query: Query, s: Session, *, chat: bool) -> Request:
        settings = self._settings
        return Request(
            ask.state,
            s.task.prompt(query, ask.state.memory, chat=chat),
            n=ask.samples,
            temperature=settings.temperature,
            max_tokens=settings.max_tokens,
            stop=settings.stop,
            seed=ask.seed,
        )


def _text(completion: Completion, query: Query, s: Session, after: str) -> str | None:
    """The answer to grade, "" where the text holds none; None where there is no text at all."""
    if completion.finish in ("failed", "error"):
        return None
    stated = completion.text.partition(after)[2] if after else completion.text
    return s.task.extract(query, stated) or "" if stated.strip() else ""


def _score(episode: str, asked: _Answered, verdicts: Iterator[Grade]) -> Score:
    """One query's score; draws one verdict per text to grade from ``verdicts``."""
    answers = tuple(completion.text.strip() for completion in asked.completions)

    def error(reason: str) -> Score:
        return Score(episode, asked.query.id, None, "error", answers, {"reason": reason})

    if not asked.golds:
        return error("no reference answer")
    graded = [None if text is None else next(verdicts) for text in asked.texts]
    for completion, verdict in zip(asked.completions, graded, strict=True):
        if completion.finish == "error":
            return error(_reason(completion))
        if verdict is not None and verdict.value is None:
            return error(f"judge: {verdict.reason or verdict.status}")
    if all(verdict is None for verdict in graded):
        return Score(episode, asked.query.id, 0.0, "failed", answers, {"reason": _reason(asked.completions[0])})
    values = [0.0 if verdict is None or verdict.value is None else verdict.value for verdict in graded]
    measures = {
        name: _mean([measure(text, asked.golds) if text else 0.0 for text in asked.texts])
        for name, measure in MEASURES.items()
    }
    return Score(episode, asked.query.id, _mean(values), "ok", answers, measures)


def _reason(completion: Completion) -> str:
    return completion.reason or "no text"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
