"""What the three loops share: a round's questions, answers and their scores, the update, and the judge's quality."""

from __future__ import annotations

import logging
import random
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean
from typing import Any, ClassVar, Literal

from harness_label_free.answering import Answered, Sampling, answered, labels, measured, votes
from harness_self_study.learning import keep

from harness.api import Episode, Round, SelfEdit, Session, StartAs, State, Trainer, UpdateJob
from harness.errors import RunError, UsageError
from harness.votes import classes
from harness_self_judging.judge import Judge, JudgeSettings, Positive, Rating, Share, Temperature
from harness_self_judging.pairs import best, weighted_vote
from harness_self_judging.proposer import Count, ProposalSettings, Proposer
from harness_self_judging.spread import spread

_log = logging.getLogger("harness")
RatedBy = Literal["judge", "random", "oracle"]


@dataclass(frozen=True)
class LoopSettings(JudgeSettings, ProposalSettings):
    """The size of a round."""

    rounds: Positive = 2
    """Checkpoints; with the start, which is M1 in the papers, there is one model more."""
    contexts: Count = 0
    """Questions per round, the next ones in each; 0 is all of the split, or all that were proposed."""
    split: Literal["train", "test"] = "train"
    """Whose questions; with ``test`` the method's card must say transductive."""
    spread: bool = False
    """Whether ``contexts`` of the round's questions are taken one from each cluster of hidden states, not in order."""
    samples: Positive = 4
    """Answers per question."""
    temperature: Temperature = 0.7
    """Sampling temperature of answers."""
    top_p: Share = 0.9
    """Nucleus sampling of answers."""
    max_tokens: Positive = 512
    """New tokens per answer."""
    rated_by: RatedBy = "judge"
    """``random`` and ``oracle`` are controls: a score drawn from the judge's scale, or its highest mark for a right
    answer and its lowest for a wrong one."""
    probe: Count = 0
    """Questions of the validation split (of the train split where there is none) whose answers, all by the start model,
    every round's judge marks: how right its choices are is diagnosed, and decides nothing."""


@dataclass(frozen=True)
class Rated:
    """One question with its answers and their scores."""

    group: Answered
    scores: tuple[float | None, ...]
    """Parallel to the answers; None for one without a score."""
    ratings: tuple[Rating, ...] = ()
    """Of the judge, parallel to the answers; empty where it was not asked."""

    def lengths(self) -> list[int]:
        """Tokens per answer."""
        return [length(one) for one in self.group.completions]


class JudgedLoop(Trainer):
    """Asks, has the answers scored, and leaves to its subclasses who answers and what is learnt."""

    Settings: ClassVar[type[LoopSettings]] = LoopSettings
    name: ClassVar[str]

    def __init__(self, settings: LoopSettings) -> None:
        self._settings = settings
        self.rounds = settings.rounds
        self._judge = Judge(settings)
        self._proposer = Proposer(settings, settings.prompts) if settings.proposed else None

    def candidates(self, contexts: int, /) -> int:
        own = self._settings
        there = own.proposed or contexts
        return own.rounds * own.samples * min(own.contexts or there, there)

    def run(self, s: Session, /) -> Iterator[Round]:
        """One checkpoint per round: M2, M3, ... All are noted for the protocol ``by-round``, so none is released.

        Raises:
            UsageError: the split is empty.
            RunError: answers, judgements or an update were lost; or nothing new was proposed.
        """
        episodes = self.begin(s)
        start = s.roles["teacher"]
        keep(s, 0, start)
        before = self.probed(s, start, 1)
        for index in range(self._settings.rounds):
            asked, metrics = self.questions(s, episodes, index)
            found = self.answers(s, asked, index)
            diagnosed(s, found, f"round {index + 1}: ")
            groups = [one.group for one in found]
            metrics |= {**measured(groups, votes(s, groups, "class")), **of_answers(found)}
            metrics |= of_ratings(found, self._judge.scale.share)
            new, said = self.learn(s, found, index)
            metrics |= said
            if new is not None:
                s.roles["teacher"] = new
            keep(s, index + 1, s.roles["teacher"])
            metrics |= self.probed(s, start, index + 2)
            if index == 0 and before:
                metrics |= {f"{name}_start": value for name, value in before.items()}
            yield Round(index, dict(s.roles), metrics)

    def answers(self, s: Session, asked: Sequence[Episode], index: int) -> list[Rated]:
        """A round's answers with their scores: here, of the policy alone."""
        groups = answered(s, s.roles["teacher"], asked, self.sampling(), self.name, index)
        return self.rated(s, groups, self.name, index)

    @abstractmethod
    def learn(self, s: Session, found: Sequence[Rated], index: int) -> tuple[State | None, dict[str, Any]]:
        """The policy that a round's answers make, and what is reported of it; None where it stays as it was."""

    def begin(self, s: Session) -> Sequence[Episode]:
        """The split's questions; the proposer knows these and nothing else.

        Raises:
            UsageError: there are none.
        """
        episodes = s.episodes(self._settings.split)
        if not episodes:
            raise UsageError(
                f"trainer {self.name!r} needs questions: the task's split {self._settings.split!r} is empty"
            )
        if self._proposer is not None:
            self._proposer.start([query.text for episode in episodes for query in episode.queries])
        return episodes

    def questions(self, s: Session, episodes: Sequence[Episode], index: int) -> tuple[list[Episode], dict[str, Any]]:
        """A round's questions, and how they came about.

        Raises:
            RunError: nothing that the proposer wrote is a new task.
        """
        own = self._settings
        said: dict[str, Any] = {}
        offered = list(episodes)
        if self._proposer is not None:
            offered, counts = self._proposer.propose(s, s.roles["proposer"], self.name, index, "propose")
            said = {f"tasks_{name}": count for name, count in counts.items()} | {"tasks": len(offered)}
            if not offered:
                raise RunError(
                    f"{self.name}, round {index + 1}: none of {counts['written']} proposals is a new task "
                    f"({counts['malformed']} malformed, {counts['duplicates']} known); see trainer.propose_prompt"
                )
        size = min(own.contexts or len(offered), len(offered))
        if own.spread and size < len(offered):
            texts = [" ".join(query.text for query in episode.queries) for episode in offered]
            state = s.roles["proposer"]
            vectors = s.lm(state).hidden([(state, text) for text in texts], layer=-1)
            return [offered[place] for place in spread(vectors, size, s.seed(self.name, index, "spread"))], said
        first = 0 if self._proposer is not None else index * size
        return [offered[(first + place) % len(offered)] for place in range(size)], said

    def sampling(self, samples: int = 0) -> Sampling:
        own = self._settings
        return Sampling(samples or own.samples, own.temperature, own.top_p, own.max_tokens)

    def rated(self, s: Session, groups: Sequence[Answered], *name: object) -> list[Rated]:
        """The groups with their scores, as ``rated_by`` says."""
        by, marks = self._settings.rated_by, self._judge.scale.values.values()
        low, high = min(marks), max(marks)
        if by == "judge":
            return self.judged(s, s.roles["judge"], groups, *name)
        if by == "oracle":
            wanted = labels(s, groups, "oracle", "class", *name)
            return [
                Rated(group, tuple(high if yes else low for yes in group.agreeing(label, s)))
                for group, label in zip(groups, wanted, strict=True)
            ]
        out = []
        for group in groups:
            draw = random.Random(s.seed(*name, "random score", group.query.id))
            out.append(Rated(group, tuple(draw.uniform(low, high) for _ in group.completions)))
        return out

    def judged(self, s: Session, state: State, groups: Sequence[Answered], *name: object) -> list[Rated]:
        """The groups with the scores that a state gives as the judge; an answer that failed has none."""
        asked = [
            (group.query.text, one.text.strip())
            for group in groups
            for one in group.completions
            if one.finish != "failed"
        ]
        found = iter(self._judge.rate(s, state, asked, *name))
        out = []
        for group in groups:
            ratings = tuple(Rating(()) if one.finish == "failed" else next(found) for one in group.completions)
            out.append(Rated(group, tuple(rating.mean for rating in ratings), ratings))
        return out

    def update(
        self, s: Session, slot: str, start: State, edits: Sequence[SelfEdit], start_as: StartAs, *name: object
    ) -> tuple[State | None, dict[str, Any]]:
        """A state trained from any other one, and what was said of it; None where there is nothing to learn or the
        update failed.

        Raises:
            RunError: the update was lost, or changed nothing.
        """
        where = "/".join(map(str, (self.name, *name)))
        if not edits:
            _log.warning("%s: nothing to learn: the policy stays as it was", where)
            return None, {"note": "nothing to learn: the policy stays as it was"}
        job = UpdateJob(where, start, tuple(edits), s.seed(self.name, *name), start_as=_start(start, start_as))
        [done] = s.update(slot, [job])
        if done.status == "error":
            raise RunError(f"{where}: the update was lost: {done.reason}")
        if done.state is None:
            _log.warning("%s: the update failed: %s", where, done.reason)
            return None, {"note": f"the update failed, the policy stays as it was: {done.reason}"}
        if done.state == start:
            raise RunError(f"{where}: the update left the weights as they were, to the bit")
        return done.state, {name: done.log[name] for name in ("steps", "loss") if done.log.get(name) is not None}

    def probed(self, s: Session, start: State, model: int) -> dict[str, float]:
        """How well the judge of the moment (M1, M2, ...) chooses among fixed answers; what is right is diagnosed."""
        own = self._settings
        if not own.probe:
            return {}
        episodes = s.episodes("validation", own.probe) or s.episodes("train", own.probe)
        groups = answered(s, start, episodes, self.sampling(), self.name, "probe")
        found = self.judged(s, s.roles["judge"], groups, self.name, "probe")
        diagnosed(s, found, f"probe, M{model}: ")
        return {f"probe_{name}": value for name, value in of_ratings(found, self._judge.scale.share).items()}


def diagnosed(s: Session, found: Sequence[Rated], prefix: str) -> None:
    """Have the core compare what the scores prefer and reject, and votes without and with them, with what is right."""
    chosen: dict[str, dict[str, str]] = {name: {} for name in ("preferred", "rejected", "vote", "weighted vote")}
    for one, majority in zip(found, votes(s, [one.group for one in found], "class"), strict=True):
        group, answers = one.group, one.group.answers
        known = [None if answers[i] is None else score for i, score in enumerate(one.scores)]
        worst = best([None if score is None else -score for score in known])
        numbers = classes(answers, partial(s.task.same, group.query))
        places = {
            "preferred": best(known),
            "rejected": worst,
            "vote": majority.index,
            "weighted vote": weighted_vote(numbers, one.scores),
        }
        for name, place in places.items():
            if place is not None and answers[place] is not None:
                chosen[name][group.query.id] = str(answers[place])
    for name, guesses in chosen.items():
        s.diagnose(prefix + name, guesses)


def of_ratings(found: Sequence[Rated], share: Any) -> dict[str, float]:
    """What the judge's scores are like; ``score`` is a share of the way from the lowest mark to the highest."""
    judgements = [judgement for one in found for rating in one.ratings for judgement in rating.judgements]
    read = [judgement.score for judgement in judgements if judgement.score is not None]
    if not judgements:
        return {}
    out = {"unread": 1 - len(read) / len(judgements)}
    if read:
        out["score"] = share(fmean(read))
    return out


def of_answers(found: Sequence[Rated]) -> dict[str, float]:
    """What a round's answers are like; means over all answers."""
    tokens = [length for one in found for length in one.lengths()]
    tied = [len({score for score in one.scores if score is not None}) < 2 for one in found]
    return {"questions": len(found), "tokens": fmean(tokens or [0]), "tied": fmean(tied or [0])}


def length(one: Any) -> int:
    """Tokens of a completion."""
    return int(one.cost.get("completion_tokens", len(one.tokens or one.text.split())))


def merged(parts: Sequence[Rated]) -> Rated:
    """The same question, answered by several states."""
    first = parts[0].group
    group = replace(
        first,
        completions=tuple(one for part in parts for one in part.group.completions),
        answers=tuple(answer for part in parts for answer in part.group.answers),
    )
    scores = tuple(score for part in parts for score in part.scores)
    return Rated(group, scores, tuple(rating for part in parts for rating in part.ratings))


def _start(start: State, start_as: StartAs) -> StartAs:
    return start_as if start.adapters else "stack"
