"""The evaluator ``self-judged``: how well a state judges answers, and what its choice among them is worth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, ClassVar, Literal

from harness.api import Ask, Completion, Evaluator, Query, References, Request, Score, Session, State
from harness.votes import classes, vote
from harness_self_judging.judge import Judge, JudgeSettings, Positive, Rating, Share, Temperature
from harness_self_judging.pairs import best, weighted_vote, won

MeasureName = Literal[
    "pair-accuracy", "verdict-accuracy", "best-of-n", "weighted-votes", "maj@n", "pass@1", "score", "unread"
]


@dataclass(frozen=True)
class SelfJudgedSettings(JudgeSettings):
    """Whose answers are judged, and which measure is the value."""

    measure: MeasureName = "pair-accuracy"
    """``pair-accuracy``: of all pairs of a right and a wrong answer to a question, how many the judge scores in that
    order, ties counting half; half for a question without such a pair. ``verdict-accuracy``: answers whose score is on
    the right side of the scale's middle. ``best-of-n``: whether the highest-scored answer is right.
    ``weighted-votes``: whether the answer with the largest sum of scores is. ``maj@n`` and ``pass@1``: the same answers
    without a judge. ``score``: mean score, as a share of the scale. ``unread``: judgements without a mark."""
    answers_by: Literal["start", "state"] = "start"
    """``start``: the frozen weights without any adapter, so that all judges have the same answers before them.
    ``state``: the judged state itself."""
    samples: Positive = 8
    """Answers per question."""
    temperature: Temperature = 1.0
    """Sampling temperature of answers."""
    top_p: Share = 1.0
    """Nucleus sampling of answers."""
    max_tokens: Positive = 512
    """New tokens per answer."""


class SelfJudged(Evaluator):
    """All measures are made of the same answers and judgements and stand in :attr:`harness.api.Score.measures`, with
    ``pairs_won`` and ``pairs``, from which an accuracy over all pairs can be pooled."""

    Settings: ClassVar[type[SelfJudgedSettings]] = SelfJudgedSettings

    def __init__(self, settings: SelfJudgedSettings) -> None:
        self._settings = settings
        self.metric = settings.measure
        self._judge = Judge(settings)

    def evaluate(
        self, asks: Sequence[Ask], references: Mapping[str, References], s: Session, /
    ) -> Iterator[Sequence[Score]]:
        """The scores of each ask's queries. Each ask's own state is the judge."""
        own = self._settings
        asked = [(ask, query) for ask in asks for query in ask.episode.queries]
        rows = s.generate([self._request(ask, query, s) for ask, query in asked])
        by_state: dict[str, tuple[State, list[tuple[str, str]]]] = {}
        for (ask, query), row in zip(asked, rows, strict=True):
            _, pairs = by_state.setdefault(repr(ask.state), (ask.state, []))
            if not any(one.finish == "error" for one in row):
                pairs += [(query.text, one.text.strip()) for one in row if one.finish != "failed"]
        ratings: dict[tuple[str, str, str], Rating] = {}
        for name, (state, pairs) in by_state.items():
            found = self._judge.rate(s, state, pairs, "self-judged", own.judge_score)
            ratings |= {(name, *pair): rating for pair, rating in zip(pairs, found, strict=True)}
        scores = iter(
            self._score(ask, query, row, references[ask.episode.id].get(query.id, ()), ratings, s)
            for (ask, query), row in zip(asked, rows, strict=True)
        )
        for ask in asks:
            yield [next(scores) for _ in ask.episode.queries]

    def _request(self, ask: Ask, query: Query, s: Session) -> Request:
        own = self._settings
        state = State(ask.state.base) if own.answers_by == "start" else ask.state
        prompt = s.task.prompt(query, ask.state.memory, chat="chat" in s.lm(state).can)
        return Request(state, prompt, own.samples, own.temperature, own.top_p, own.max_tokens, seed=ask.seed)

    def _score(
        self,
        ask: Ask,
        query: Query,
        row: Sequence[Completion],
        golds: Sequence[str],
        ratings: Mapping[tuple[str, str, str], Rating],
        s: Session,
    ) -> Score:
        texts = tuple(one.text.strip() for one in row)

        def nothing(status: Literal["failed", "error"], reason: str) -> Score:
            return Score(
                ask.episode.id, query.id, 0.0 if status == "failed" else None, status, texts, {"reason": reason}
            )

        if not golds:
            return nothing("error", "no reference answer")
        lost = [one for one in row if one.finish == "error"]
        if lost:
            return nothing("error", lost[0].reason or "no text")
        if all(one.finish == "failed" for one in row):
            return nothing("failed", row[0].reason or "no text")

        def same(a: str, b: str) -> bool:
            return s.task.same(query, a, b)

        answers = [None if one.finish == "failed" else s.task.extract(query, one.text) for one in row]
        right = [answer is not None and any(same(answer, gold) for gold in golds) for answer in answers]
        rated = [
            Rating(()) if one.finish == "failed" else ratings[repr(ask.state), query.text, one.text.strip()]
            for one in row
        ]
        measures = self._measures(answers, right, rated, classes(answers, same))
        measures["maj@n"] = float((index := vote(answers, same).index) is not None and right[index])
        return Score(ask.episode.id, query.id, float(measures[self._settings.measure]), "ok", texts, measures)

    def _measures(
        self, answers: Sequence[str | None], right: Sequence[bool], rated: Sequence[Rating], of: Sequence[int | None]
    ) -> dict[str, Any]:
        scale = self._judge.scale
        scores = [rating.mean for rating in rated]
        shares = [None if score is None else scale.share(score) for score in scores]
        wins, pairs = won(scores, right)
        sides = [
            0.5 if share is None or share == 0.5 else float((share > 0.5) == fine)
            for share, fine in zip(shares, right, strict=True)
        ]
        top, heaviest = best(scores), weighted_vote(of, shares)
        count = sum(len(rating.judgements) for rating in rated)
        read = sum(len(rating.scores) for rating in rated)
        known = [share for share in shares if share is not None]
        return {
            "pair-accuracy": wins / pairs if pairs else 0.5,
            "pairs_won": wins,
            "pairs": pairs,
            "verdict-accuracy": fmean(sides),
            "best-of-n": float(top is not None and right[top]),
            "weighted-votes": float(heaviest is not None and right[heaviest]),
            "pass@1": fmean(right),
            "score": fmean(known) if known else 0.0,
            "unread": 1 - read / count if count else 0.0,
        }
