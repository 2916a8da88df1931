"""Self-Rewarding (Yuan et al. 2024, arXiv 2401.10020) and Meta-Rewarding (Wu et al. 2024, arXiv 2407.19594)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from harness.api import Data, Example, Preference, SelfEdit, Session, StartAs, State
from harness.errors import UsageError
from harness_self_judging import elo
from harness_self_judging.judge import Contest, Judgement, MetaJudge, Positive, Share, Temperature, matches
from harness_self_judging.loop import JudgedLoop, LoopSettings, Rated
from harness_self_judging.pairs import best, extremes, failures
from harness_self_judging.proposer import Count

Rho = Annotated[float, Field(ge=0, lt=0.5)]


@dataclass(frozen=True)
class SelfRewardingSettings(LoopSettings):
    """What is made of the scores."""

    learn: Literal["pairs", "best"] = "pairs"
    """``pairs``: preferences, by the updater of the slot ``policy`` (its loss ``dpo``). ``best``: the highest-scored
    answers alone, by that of the slot ``sft``, which is the paper's control of positives only."""
    pairs: Literal["extremes", "failures"] = "extremes"
    """``extremes``: per question, the best answer against the worst. ``failures``: every answer below ``passing``
    against one that reaches it."""
    passing: float = 2.5
    """The score from which an answer passes, for ``failures``."""
    rho: tuple[Rho, ...] = ()
    """Length control in each round, the last value in all later ones; empty for none."""
    start_as: StartAs = "continue"
    """What a round makes of the adapter that it trains on; see :attr:`harness.api.UpdateJob.start_as`."""


class SelfRewarding(JudgedLoop):
    """The policy answers, judges its answers, and learns to prefer what it marks higher; over and over."""

    Settings: ClassVar[type[SelfRewardingSettings]] = SelfRewardingSettings
    name: ClassVar[str] = "self-rewarding"
    _settings: SelfRewardingSettings

    def learn(self, s: Session, found: Sequence[Rated], index: int) -> tuple[State | None, dict[str, Any]]:
        own = self._settings
        edits = self.learnt(found, index)
        more, metrics = self.more(s, found, index)
        slot = "policy" if own.learn == "pairs" else "sft"
        new, said = self.update(s, slot, s.roles["teacher"], [*edits, *more], own.start_as, index)
        return new, {**_of_edits(edits, own.learn), **metrics, **said}

    def learnt(self, found: Sequence[Rated], index: int) -> list[SelfEdit]:
        """An edit per question that teaches something."""
        own = self._settings
        out = []
        for one in found:
            texts = one.group.completions
            data: tuple[Data, ...]
            if own.learn == "best":
                place = best(one.scores)
                data = () if place is None else (Example(texts[place].request.prompt, texts[place].text),)
                places = [] if place is None else [place]
            else:
                rho = own.rho[min(index, len(own.rho) - 1)] if own.rho else None
                if own.pairs == "failures":
                    pairs = failures(one.scores, one.lengths(), own.passing, rho)
                else:
                    pairs = extremes(one.scores, one.lengths(), rho)
                pairs = [(a, b) for a, b in pairs if texts[a].text.strip() != texts[b].text.strip()]
                data = tuple(
                    Preference(texts[good].request.prompt, texts[good].text, texts[bad].text)
                    for good, bad in pairs
                    if texts[good].text.strip() and texts[bad].text.strip()
                )
                places = [good for good, _ in pairs]
            if data:
                query = one.group.query.id
                actions = tuple(texts[place] for place in places)
                out.append(SelfEdit(f"{query}/round-{index}", one.group.episode.id, data, actions=actions))
        return out

    def more(self, s: Session, found: Sequence[Rated], index: int) -> tuple[list[SelfEdit], dict[str, Any]]:
        """Further edits of the round, and what is reported of them. None here."""
        return [], {}


@dataclass(frozen=True)
class MetaRewardingSettings(SelfRewardingSettings):
    """The judge's training; the paper's numbers where they differ from Self-Rewarding's."""

    rounds: Positive = 4
    samples: Positive = 7
    temperature: Temperature = 0.8
    judgements: Positive = 11
    rho: tuple[Rho, ...] = (0.0, 0.32, 0.32, 0.40)
    judge_rounds: Count = 2
    """Rounds in which judgements are compared and learnt from; later ones train the actor alone."""
    judge_pairs: Literal["elo", "agreement"] = "elo"
    """``elo``, the paper's: of the answer of each question on which the judge varies most, the judgement with the
    highest Elo against that with the lowest, as the meta-judge compares them. ``agreement``: of every answer on which
    enough judgements agree, one of the majority against one of the minority, and no meta-judge is asked; these are the
    preferences of Self-Consistency Preference Optimization (Prasad et al. 2024, arXiv 2411.04109), of judgements."""
    agreement: Share = 0.75
    """Least share of an answer's judgements on one side of ``passing``, for ``agreement``."""
    meta_prompt: str = "meta"
    """A key in ``prompts``; the placeholders are ``{question}``, ``{answer}``, ``{first}`` and ``{second}``."""
    meta_questions: Count = 0
    """Questions per round whose judgements are compared; 0 is all."""
    meta_players: Positive = 11
    """Different judgements of an answer that are compared, at most, each pair in both orders."""
    meta_temperature: Temperature = 0.8
    """Sampling temperature of the meta-judge."""
    meta_max_tokens: Positive = 512
    """New tokens per comparison."""
    longest_judgement: Count = 0
    """Characters from which a chosen judgement is not learnt; 0 for no limit."""


class MetaRewarding(SelfRewarding):
    """Self-Rewarding with length control, and a judge that learns which of its own judgements the role ``meta-judge``
    ranks highest."""

    Settings: ClassVar[type[MetaRewardingSettings]] = MetaRewardingSettings
    name: ClassVar[str] = "meta-rewarding"
    _settings: MetaRewardingSettings

    def __init__(self, settings: MetaRewardingSettings) -> None:
        super().__init__(settings)
        if settings.judge_rounds and (settings.judge_score == "direct" or settings.judgements < 2):
            raise UsageError(
                "trainer.judge_rounds: judgements are compared, so at least two must be written per answer: set "
                "trainer.judgements = 2 or more and another judge_score than 'direct', or judge_rounds = 0"
            )
        self._meta = MetaJudge(settings.prompts, settings.meta_prompt)

    def more(self, s: Session, found: Sequence[Rated], index: int) -> tuple[list[SelfEdit], dict[str, Any]]:
        """Preferences between judgements: of the answer of each question on which the judge varies most, the judgement
        with the highest Elo against that with the lowest."""
        own = self._settings
        if index >= own.judge_rounds or own.rated_by != "judge" or own.learn != "pairs":
            return [], {}
        if own.judge_pairs == "agreement":
            pairs = [(one, pair) for one in found for pair in agreed(one, own.passing, own.agreement)]
            said: dict[str, Any] = {}
        else:
            pairs, said = self._compared(s, found, index)
        pairs = [(one, pair) for one, pair in pairs if not 0 < own.longest_judgement <= len(pair[0].text)]
        edits = [
            SelfEdit(
                f"{one.group.query.id}/judge-{index}-{place}",
                one.group.episode.id,
                (Preference(good.prompt, good.text, bad.text),),
            )
            for place, (one, (good, bad)) in enumerate(pairs)
        ]
        return edits, {"judge_pairs": len(edits), **said}

    def _compared(
        self, s: Session, found: Sequence[Rated], index: int
    ) -> tuple[list[tuple[Rated, tuple[Judgement, Judgement]]], dict[str, Any]]:
        """The best and the worst judgement by Elo, of the answer of each question on which the judge varies most."""
        own = self._settings
        disputed = [(one, players) for one in found if len(players := _disputed(one, own.meta_players)) > 1]
        disputed = disputed[: own.meta_questions or len(disputed)]
        orders = [elo.pairings(len(players)) for _, players in disputed]
        contests = [
            Contest(
                one.group.query.text, _answer_judged(one, players), players[a].text.strip(), players[b].text.strip()
            )
            for (one, players), order in zip(disputed, orders, strict=True)
            for a, b in order
        ]
        wins = self._meta.compare(
            s, s.roles["meta-judge"], contests, own.meta_temperature, own.meta_max_tokens, self.name, index
        )
        left = iter(wins)
        played = [matches(order, [next(left) for _ in order]) for order in orders]
        weights = elo.position_weights([match for row in played for match in row])
        pairs = []
        gaps = []
        for (one, players), row in zip(disputed, played, strict=True):
            ratings = elo.elo(elo.battles(len(players), row, weights))
            ends = elo.best_and_worst(ratings)
            if ends is None:
                continue
            gaps.append(ratings[ends[0]] - ratings[ends[1]])
            pairs.append((one, (players[ends[0]], players[ends[1]])))
        unread = sum(win is None for win in wins) / max(1, len(wins))
        said = {
            "meta_contests": len(wins), "meta_unread": unread, "meta_first_place": weights[1],
            "meta_elo_gap": fmean(gaps) if gaps else 0.0,
        }  # fmt: skip
        return pairs, said


def agreed(one: Rated, passing: float, least: float) -> list[tuple[Judgement, Judgement]]:
    """Per answer, the first judgement of the majority and the first of the minority, where the share ``least`` of the
    judgements that could be read is on one side of ``passing`` and not all are."""
    out = []
    for rating in one.ratings:
        sides: dict[bool, list[Judgement]] = {True: [], False: []}
        for judgement in rating.judgements:
            if judgement.score is not None:
                sides[judgement.score >= passing].append(judgement)
        few, many = sorted(sides.values(), key=len)
        if few and len(many) > len(few) and len(many) >= least * (len(few) + len(many)):
            out.append((many[0], few[0]))
    return out


def _disputed(one: Rated, most: int) -> list[Judgement]:
    """The different judgements of the answer on which the judge varies most; none where it varies on no answer."""
    rating = max(one.ratings, key=lambda rating: rating.variance, default=None)
    if rating is None or rating.variance == 0:
        return []
    known = {judgement.text.strip(): judgement for judgement in rating.judgements if judgement.score is not None}
    return list(known.values())[:most]


def _answer_judged(one: Rated, players: Sequence[Judgement]) -> str:
    place = next(i for i, rating in enumerate(one.ratings) if players[0] in rating.judgements)
    return one.group.completions[place].text.strip()


def _of_edits(edits: Sequence[SelfEdit], learn: str) -> dict[str, Any]:
    """How many pairs there are, and how long their two sides, in words."""
    data = [item for edit in edits for item in edit.data]
    pairs = [item for item in data if isinstance(item, Preference)]
    if not pairs:
        return {learn: len(data)}
    return {
        learn: len(pairs),
        "chosen_words": fmean(len(item.chosen.split()) for item in pairs),
        "rejected_words": fmean(len(item.rejected.split()) for item in pairs),
    }
