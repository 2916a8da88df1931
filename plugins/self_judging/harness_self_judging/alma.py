"""ALMA (Yasunaga et al. 2024, arXiv 2412.04305): the best of many answers by expected score, learnt from the base."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from harness_label_free.answering import answered, measured, votes

from harness.api import Episode, Example, Round, SelfEdit, Session, State
from harness_self_judging.judge import Positive, Share, Temperature
from harness_self_judging.loop import JudgedLoop, LoopSettings, Rated, diagnosed, merged, of_answers, of_ratings
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

    def shares(self, count: int) -> list[int]:
        """How many answers each member gives; the first ones one more where it does not come out even."""
        size = len(self.members())
        return [count // size + (place < count % size) for place in range(size)]


class Alma(JudgedLoop):
    """Answers from a pool of checkpoints, the judge's best of them, and supervised fine-tuning (slot ``sft``)."""

    Settings: ClassVar[type[AlmaSettings]] = AlmaSettings
    name: ClassVar[str] = "alma"
    _settings: AlmaSettings

    def run(self, s: Session, /) -> Iterator[Round]:
        """One checkpoint per round.

        Raises:
            UsageError: the split is empty.
            RunError: answers, judgements or an update were lost; or nothing new was proposed.
        """
        own = self._settings
        episodes = self.begin(s)
        base = s.roles["teacher"]
        pool = Pool((base,))
        gathered: list[SelfEdit] = []
        before = self.probed(s, base, 1)
        for index in range(own.rounds):
            asked, metrics = self.questions(s, episodes, index)
            found = self._answers(s, pool, asked, index)
            diagnosed(s, found, f"round {index + 1}: ")
            groups = [one.group for one in found]
            metrics |= {**measured(groups, votes(s, groups, "class")), **of_answers(found)}
            metrics |= {**of_ratings(found, self._judge.scale.share), "pool": len(pool.members())}
            edits = [edit for one in found if (edit := self._edit(one, index)).data]
            gathered = [*gathered, *edits] if own.restart else edits
            start = base if own.restart else s.roles["teacher"]
            metrics["learnt"] = sum(len(edit.data) for edit in gathered)
            old = s.roles["teacher"]
            new, said = self.update(s, "sft", start, gathered, "merge", index)
            metrics |= said
            if new is not None:
                s.roles["teacher"] = new
                if index == 0:
                    others = (
                        self.update(s, "sft", base, gathered, "merge", 0, seed)[0] for seed in range(1, own.firsts)
                    )
                    pool = Pool((new, *(other for other in others if other is not None)))
                pool.newest = new
                if index and old not in pool.members() and old not in s.roles.values():
                    s.release([old])  # the core keeps what may still be chosen
            metrics |= self.probed(s, base, index + 2)
            if index == 0 and before:
                metrics |= {f"{name}_start": value for name, value in before.items()}
            yield Round(index, dict(s.roles), metrics)

    def _answers(self, s: Session, pool: Pool, asked: Sequence[Episode], index: int) -> list[Rated]:
        """Every question's answers of all members, with their scores."""
        parts: list[list[Rated]] = []
        members = pool.members()
        for place, (state, count) in enumerate(zip(members, pool.shares(self._settings.samples), strict=True)):
            if count:
                groups = answered(s, state, asked, self.sampling(count), self.name, index, place)
                parts.append(self.rated(s, groups, self.name, index, place))
        return [merged(row) for row in zip(*parts, strict=True)]

    def _edit(self, one: Rated, index: int) -> SelfEdit:
        places = [place for place in ranked(one.scores) if one.group.completions[place].text.strip()]
        chosen = tuple(one.group.completions[place] for place in places[: self._settings.keep])
        data = tuple(Example(text.request.prompt, text.text) for text in chosen)
        return SelfEdit(f"{one.group.query.id}/round-{index}", one.group.episode.id, data, actions=chosen)


def ranked(scores: Scores) -> list[int]:
    """Places of scored answers, the highest first, equals in their order."""
    known: list[tuple[float, Any]] = [(-score, place) for place, score in enumerate(scores) if score is not None]
    return [place for _, place in sorted(known)]
