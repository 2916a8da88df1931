"""One step of ACE: reflect on answers, curate what was learnt, merge it into the playbook (section 3 of the paper)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import Field

from harness.api import Completion, MemoryOps, Prompt, Request, SelfEdit, Session, State, UpdateJob
from harness.errors import RunError
from harness_ace.dialects import TEMPLATE, Case, Dialect, Reflection, dialect
from harness_ace.playbook import KEY, Add, Playbook, Tally, playbook_of

_log = logging.getLogger("harness")
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class LearningSettings:
    """How the playbook is changed; the same for the offline and the online protocol."""

    dialect: Literal["json", "notes"] = "json"
    """``json``: prompts of ``template``, for instruct models. ``notes``: the registers of the model ``lab-maths``."""
    template: str = TEMPLATE
    """The prompt file of the dialect ``json``."""
    merge: Literal["delta", "rewrite"] = "delta"
    """``delta``: additions and counters, merged by rule. ``rewrite`` is a control: the curator writes the whole list
    anew, and there are no counters."""
    feedback: Literal["bit", "hidden"] = "bit"
    """``bit``: the reflector is told whether an answer was right, which is one bit of a label, and nothing more.
    ``hidden`` is a control: it is not told, and no label is used."""
    budget: Count = 60_000
    """Most words of the playbook's bullets; what is over it is dropped, the least worthy first. The paper tells its
    model of 80,000 tokens, and enforces none."""
    temperature: Annotated[float, Field(ge=0)] = 0.0
    """Sampling temperature of reflector and curator."""
    max_tokens: Positive = 4096
    """New tokens of an answer of reflector or curator."""


class Learner:
    """The reflector and the curator of a session; roles ``reflector`` and ``curator`` hold their models.

    The playbook of a state changes only through the slot ``playbook`` (updater ``memory``), so that every version of it
    is journalled.
    """

    def __init__(self, settings: LearningSettings) -> None:
        self._settings = settings
        self.dialect: Dialect = dialect(settings.dialect, settings.template)

    def learn(self, state: State, cases: Sequence[Case], name: str, tally: Tally, s: Session) -> State:
        """The state with its playbook changed by what the cases teach; all of them saw the same playbook."""
        said = self.reflect(cases, playbook_of(state.memory), tally, s)
        insights, tags = gathered(cases, said)
        return self.merge(state, list(insights.values()), tags, name, tally, s)

    def reflect(self, cases: Sequence[Case], book: Playbook, tally: Tally, s: Session) -> list[Reflection | None]:
        """Insight and tags for every case; None where the answer could not be read."""
        chat = self._chat("reflector", s)
        prompts = [(self.dialect.reflect(case, book, chat=chat), case.seed) for case in cases]
        out: list[Reflection | None] = []
        for case, one in zip(cases, self._asked("reflector", prompts, s), strict=True):
            found = self.dialect.reflection(one.text, case, book)
            tally.add("reflections")
            tally.add("unread", found is None)
            out.append(found)
        return out

    def merge(
        self,
        state: State,
        insights: Sequence[tuple[Case, str]],
        tags: Mapping[str, Sequence[int]],
        name: str,
        tally: Tally,
        s: Session,
    ) -> State:
        """The state with counters and bullets changed, within the budget; itself where nothing changed."""
        book = playbook_of(state.memory)
        new = book
        if self._settings.merge == "rewrite":
            for case, insight in insights:
                new = self._rewritten(new, insight, case.seed, tally, s)
        else:
            for place in range(max(map(len, tags.values()), default=0)):
                new = new.tagged({bullet: given[place] for bullet, given in tags.items() if place < len(given)})
            new = new.added(self._curated(insights, new, tally, s))
        new = new.within(self._settings.budget)
        tally.add("dropped", len({one.id for one in book.bullets} - {one.id for one in new.bullets}))
        if new.bullets == book.bullets:
            return state
        return self.written(state, replace(new, version=book.version + 1), name, s)

    def written(self, state: State, book: Playbook, name: str, s: Session) -> State:
        """The state with that playbook in its memory, by an update that is journalled.

        Raises:
            RunError: the update was lost.
        """
        shown = book.as_json(self.dialect.render(book.shown()))
        edit = SelfEdit(name, _any_episode(s), (MemoryOps(({"set": {KEY: shown}},)),))
        [done] = s.update("playbook", [UpdateJob(name, state, (edit,), 0)])
        if done.state is None:
            raise RunError(f"{name}: the playbook could not be changed: {done.reason}")
        return done.state

    def with_insight(self, state: State, insight: str) -> State:
        """The state as it would be with an insight in its playbook; not journalled, to be asked and forgotten."""
        adds, _ = self.dialect.delta(insight) or ([Add("insight", insight)], 0)
        book = playbook_of(state.memory).added(adds)
        if not book.bullets:
            return state
        return replace(state, memory={**state.memory, KEY: book.as_json(self.dialect.render(book.shown()))})

    def _curated(self, insights: Sequence[tuple[Case, str]], book: Playbook, tally: Tally, s: Session) -> list[Add]:
        texts = [insight for _, insight in insights]
        chat = self._chat("curator", s)
        forms = [self.dialect.curate(case, text, book, chat=chat) for case, text in insights]
        prompts = [(form, case.seed) for form, (case, _) in zip(forms, insights, strict=True) if form is not None]
        if prompts:
            texts = [one.text for one in self._asked("curator", prompts, s)]
        adds: list[Add] = []
        for text in texts:
            found = self.dialect.delta(text)
            tally.add("unread", found is None)
            if found is not None:
                adds += found[0]
                tally.add("ignored", found[1])
        return adds

    def _rewritten(self, book: Playbook, insight: str, seed: int, tally: Tally, s: Session) -> Playbook:
        prompt = self.dialect.rewrite([insight], book, chat=self._chat("curator", s))
        [one] = self._asked("curator", [(prompt, seed)], s)
        found = self.dialect.rewritten(one.text)
        tally.add("rewritten")
        tally.add("unread", found is None)
        return book if found is None else Playbook(next=book.next, version=book.version).added(found)

    def _asked(self, role: str, prompts: Sequence[tuple[Prompt, int]], s: Session) -> list[Completion]:
        own, state = self._settings, s.roles[role]
        rows = s.generate(
            [Request(state, p, 1, own.temperature, max_tokens=own.max_tokens, seed=seed) for p, seed in prompts]
        )
        lost = next((one for (one,) in rows if one.finish == "error"), None)
        if lost is not None:
            raise RunError(f"ace: an answer of the {role} was lost: {lost.reason or 'no reason given'}")
        return [one for (one,) in rows]

    def _chat(self, role: str, s: Session) -> bool:
        return "chat" in s.lm(role).can


def gathered(
    cases: Sequence[Case], said: Sequence[Reflection | None]
) -> tuple[dict[str, tuple[Case, str]], dict[str, list[int]]]:
    """Case -> its insight, where it has one; bullet -> its tags. In the order of the cases."""
    insights: dict[str, tuple[Case, str]] = {}
    tags: dict[str, list[int]] = {}
    for case, one in zip(cases, said, strict=True):
        if one is None:
            continue
        if one.insight:
            insights[case.id] = (case, one.insight)
        for bullet, tag in one.tags.items():
            tags.setdefault(bullet, []).append(tag)
    return insights, tags


def described(book: Playbook, tally: Tally) -> dict[str, Any]:
    """A playbook and what made it, as a round's metrics."""
    return {"bullets": len(book.bullets), "shown": len(book.shown()), "version": book.version, **tally.counts}


def _any_episode(s: Session) -> str:
    """An edit belongs to an episode; that of a playbook to the first one there is."""
    for split in ("train", "test"):
        found = s.episodes(split, 1)
        if found:
            return found[0].id
    raise RunError("ace: there are no questions")
