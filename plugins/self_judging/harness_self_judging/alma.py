"""ALMA (Yasunaga et al. 2024, arXiv 2412.04305): the best of many answers by expected score, learnt from the base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from harness_label_free.answering import answered

from harness.api import Episode, Example, SelfEdit, Session, State
from harness_self_judging.judge import Positive, Share, Temperature
from harness_self_judging.loop import JudgedLoop, LoopSettings, Rated, merged
from harness_self_judging.pairs import Scores


@dataclass(frozen=True)
class AlmaSettings(LoopSettings):
    """The pool, and what a round starts from."""

    rounds: Positive = 10
    samples: Positive = 200
    temperature: Temperature = 1.0
    top_p: Share = 1.0
    judge_prompt: str = "rating"
    judge_score: Literal["sampled", "expected", "direct"] = "direct"
    keep: Positive = 1
    """Best answers per question that are learnt."""
    firsts: Positive = 2
    """Models that the first round trains on the same data with different seeds; all stay in the pool."""
    restart: bool = True
    """Whether each round trains the base anew on the data of all rounds; else the last round's model goes on with the
    data of its own round alone."""


@dataclass
class Pool:
    """Checkpoints that answers are drawn from, in equal shares."""

    fixed: tuple[State, ...] = ()
    newest: State | None = None

    def members(self) -> list[State]:
        """Different ones, the fixed ones first."""
        newest = [self.newest] if self.newest is not None and self.newest not in self.fixed else []
        return [*self.fixed, *newest]

    def shares(self, count: int) -> list[tuple[State, int]]:
        """How many answers each member gives; the first ones one more where it does not come out even."""
        members = self.members()
        least, rest = divmod(count, len(members))
        return [(state, least + (place < rest)) for place, state in enumerate(members)]


class Alma(JudgedLoop):
    """Answers from a pool of checkpoints, the judge's best of them, and supervised fine-tuning (slot ``sft``)."""

    Settings: ClassVar[type[AlmaSettings]] = AlmaSettings
    name: ClassVar[str] = "alma"
    _settings: AlmaSettings
    _base: State
    _pool: Pool
    _gathered: list[SelfEdit]

    def begin(self, s: Session) -> Sequence[Episode]:
        self._base = s.roles["teacher"]
        self._pool, self._gathered = Pool((self._base,)), []
        return super().begin(s)

    def answers(self, s: Session, asked: Sequence[Episode], index: int) -> list[Rated]:
        """Every question's answers of all members of the pool, with their scores."""
        parts: list[list[Rated]] = []
        for place, (state, count) in enumerate(self._pool.shares(self._settings.samples)):
            if count:
                groups = answered(s, state, asked, self.sampling(count), self.name, index, place)
                parts.append(self.rated(s, groups, self.name, index, place))
        return [merged(row) for row in zip(*parts, strict=True)]

    def learn(self, s: Session, found: Sequence[Rated], index: int) -> tuple[State | None, dict[str, Any]]:
        own, base = self._settings, self._base
        metrics: dict[str, Any] = {"pool": len(self._pool.members())}
        edits = [edit for one in found if (edit := self._edit(one, index)).data]
        gathered = self._gathered = [*self._gathered, *edits] if own.restart else edits
        metrics["learnt"] = sum(len(edit.data) for edit in gathered)
        new, said = self.update(s, "sft", base if own.restart else s.roles["teacher"], gathered, "merge", index)
        if new is not None:
            if index == 0:
                others = (self.update(s, "sft", base, gathered, "merge", 0, seed)[0] for seed in range(1, own.firsts))
                self._pool = Pool((new, *(other for other in others if other is not None)))
            self._pool.newest = new
        return new, {**metrics, **said}

    def _edit(self, one: Rated, index: int) -> SelfEdit:
        places = [place for place in ranked(one.scores) if one.group.completions[place].text.strip()]
        chosen = tuple(one.group.completions[place] for place in places[: self._settings.keep])
        data = tuple(Example(text.request.prompt, text.text) for text in chosen)
        return SelfEdit(f"{one.group.query.id}/round-{index}", one.group.episode.id, data, actions=chosen)


def ranked(scores: Scores) -> list[int]:
    """Places of scored answers, the highest first, equals in their order."""
    known: list[tuple[float, Any]] = [(-score, place) for place, score in enumerate(scores) if score is not None]
    return [place for _, place in sorted(known)]
