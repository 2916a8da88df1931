"""The session as the core uses it: every effect of a method, on any split, booked.

Components are handed :func:`harness.session.facade.sealed` of it, which offers the contract's calls and nothing else.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from harness import reads
from harness.api import (
    JSON,
    Ask,
    Completion,
    Data,
    EditAsk,
    Editor,
    Episode,
    Evaluator,
    Group,
    References,
    Request,
    RewardFunction,
    Score,
    Session,
    Split,
    State,
    Task,
    TrialJob,
    Updated,
    UpdateJob,
    Updater,
)
from harness.books.episodes import EpisodeBook, shown
from harness.errors import PluginError
from harness.registry.build import BuiltComponent
from harness.session import checks
from harness.session.calls import Calls
from harness.session.evaluation import Evaluation
from harness.session.facade import sealed
from harness.session.lm import BookedLM
from harness.session.scope import Scope
from harness.session.updates import AskedBeside, Updates


class SessionService:
    """One method under one root seed, as its scope describes it.

    Every method of :class:`harness.api.Session` is here under its name, and is documented there. Beside them stand the
    calls that reach test scores, which only the core makes.
    """

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.context = scope.context
        self.journal = scope.journal
        self.task: Task = scope.task
        self.roles: MutableMapping[str, State] = scope.roles
        self.settings = scope.settings
        self._calls = Calls(self.scope)
        self._evaluation = Evaluation(self.scope, self._calls)
        self._updates = Updates(self.scope, self._calls, self._evaluation)
        self._lms: dict[str, BookedLM] = {}
        self.diagnoses: dict[str, tuple[int, int]] = {}
        """Name -> how many labels were right, of how many; the loop says them again in every life of the run."""
        self.sealed: Session = sealed(self, scope.built_task.reads)
        """What components are handed."""
        self.scope.sealed = self.sealed

    def beside(
        self, name: str, evaluator: BuiltComponent[Evaluator], task: BuiltComponent[Task], episodes: EpisodeBook
    ) -> SessionService:
        """A session of the same method with another evaluator or task, in which its states are asked other items.

        Roles, clock, journal and costs are those of this session; the order of its calls is its own.

        Args:
            name: of the other session's order of calls.
            episodes: the items that are asked, with their references.
        """
        scope = copy.copy(self.scope)
        scope.calls_name = f"{scope.name}#{name}"
        scope.replaced = 0
        scope.watch = None
        scope.context = dataclasses.replace(scope.context, episodes=episodes)
        scope.built_task, scope.task = task, task.instance
        scope.slots = {**scope.slots, "evaluator": evaluator}
        return SessionService(scope)

    @property
    def labels(self) -> set[str]:
        """Queries of the outer loop that were graded against a reference: the labels that the method used."""
        return self._evaluation.labels()

    def deploying(self) -> None:
        """End the outer loop: from here on, costs are those of deployment."""
        self.scope.facts.stage = "deploy"

    @contextmanager
    def validating(self) -> Iterator[None]:
        """Calls made inside are the core's own, and not the outer loop's."""
        self.scope.facts.validating = True
        try:
            yield
        finally:
            self.scope.facts.validating = False

    # --- values ---

    def seed(self, *name: object) -> int:
        return self.scope.seed(*name)

    def lm(self, who: str | State, /) -> BookedLM:
        base = (self.roles[who] if isinstance(who, str) else who).base
        if base not in self._lms:
            self._lms[base] = BookedLM(self.scope.backend(base), self.scope, self.context.sources.get(base, ""))
        return self._lms[base]

    def generate(self, requests: Sequence[Request], /) -> Sequence[Sequence[Completion]]:
        found: list[Sequence[Completion]] = [()] * len(requests)
        for base in dict.fromkeys(request.state.base for request in requests):
            mine = [place for place, request in enumerate(requests) if request.state.base == base]
            answers = self.lm(requests[mine[0]].state).generate([requests[place] for place in mine])
            for place, completions in zip(mine, answers, strict=True):
                found[place] = completions
        return found

    def episodes(self, split: Split, /, limit: int | None = None) -> Sequence[Episode]:
        return [shown(e, self.scope.method.sees) for e in self.context.episodes.split(split, limit)]

    def make(self, episodes: Sequence[Episode], references: Mapping[str, References], /) -> Sequence[Episode]:
        episodes, references = self.scope.writable(list(episodes)), self.scope.writable(dict(references))
        self.context.episodes.make(episodes, references)
        return [shown(episode, self.scope.method.sees) for episode in episodes]

    def keep(self, name: str, value: JSON | None = None, /) -> JSON | None:
        where = f"{self.scope.name}#scratch"
        if value is None:
            kept: JSON | None = self.journal.kept(where, name)
            return kept
        value = self.scope.writable(value)
        self.journal.keep(where, name, value)
        return value

    def diagnose(self, name: str, labels: Mapping[str, str], /) -> None:
        right = total = 0
        for episode in self.context.episodes.loaded("train", "validation", "test", "made"):
            references = self.context.episodes.references([episode.id])[episode.id]
            for query in episode.queries:
                if query.id not in labels:
                    continue
                # A method's own references are its guesses; only the task knows what is true of what was made.
                golds = self.task.solutions(query) if episode.split == "made" else references.get(query.id, ())
                if golds:
                    total += 1
                    right += any(self.task.same(query, labels[query.id], gold) for gold in golds)
        # A namespace of its own, so that `keep` cannot read the counts.
        where = f"{self.scope.name}#diagnoses"
        self.journal.keep(where, f"{name}/{self._calls.position}", {"right": right, "compared": total})
        self.scope.history.diagnosed(name, right, total)
        self.diagnoses[name] = (right, total)

    # --- effects ---

    def propose(self, role: str, asks: Sequence[EditAsk], /) -> Sequence[Group]:
        slot = self.scope.slot(role if role in self.scope.slots else "editor", Editor)
        asks = [self.scope.writable(ask) for ask in asks]

        def run() -> Any:
            for ask in asks:
                self.context.episodes.full(ask.episode.id)
            if self.scope.watch:
                self.scope.watch.asked([ask.episode for ask in asks])
            answered = self._calls.guard(slot, lambda: checks.drawn(slot.instance.propose(list(asks), self.sealed)))
            return checks.edits(slot, answered, asks)

        def status(rows: Any) -> str:
            return "error" if any(edit.status == "error" for row in rows for edit in row) else "ok"

        rows = self._calls.whole("edits", slot, asks, run, status, "generation")
        groups = [Group(ask, tuple(row)) for ask, row in zip(asks, rows, strict=True)]
        if self._calls.of_loop:
            self.scope.facts.outer.proposed(groups)
            self.scope.history.proposed(groups)
        return groups

    def reward(self, groups: Sequence[Group], /, name: str = "reward") -> Sequence[Group]:
        slot = self.scope.slot(name, RewardFunction)
        groups = [self.scope.writable(group) for group in groups]

        def run() -> Any:
            answered = self._calls.guard(slot, lambda: checks.drawn(slot.instance.score(list(groups), self.sealed)))
            return checks.rewards(slot, answered, groups)

        def status(rows: Any) -> str:
            return "error" if any(reward.status == "error" for row in rows for reward in row) else "ok"

        rows = self._calls.whole("rewards", slot, groups, run, status, "reward")
        groups = [dataclasses.replace(group, rewards=tuple(row)) for group, row in zip(groups, rows, strict=True)]
        if self._calls.of_loop:
            self.scope.facts.outer.scored(groups)
            self.scope.history.scored(name, groups)
        return groups

    def update(self, name: str, jobs: Sequence[UpdateJob], /) -> Sequence[Updated]:
        jobs = self.scope.writable(list(jobs))
        results = self._updates.update(name, jobs)
        if self._calls.of_loop:
            self.scope.facts.outer.learnt(name, results)
            self.scope.history.learnt(name, jobs, results)
        return results

    def trial(self, jobs: Sequence[TrialJob], /, name: str = "evaluator") -> Sequence[Sequence[Score]]:
        jobs = self.scope.writable(list(jobs))
        for job in jobs:
            for episode in job.episodes:
                if self.context.episodes.full(episode.id).split == "test":
                    raise PluginError(
                        f"method {self.scope.method.name!r}: a trial may not use test episode {episode.id!r}"
                    )
        updater = self.scope.slot("updater", Updater)
        own = self._evaluation if name == "evaluator" else Evaluation(self.scope, self._calls, name)
        asked = jobs if own is self._evaluation else [*jobs, own.slot.identity]
        self._calls.log("trial", updater.name, updater.identity, asked)
        return [scores for (scores,) in self._updates.measure(jobs, own=own)]

    def evaluate(self, asks: Sequence[Ask], /, name: str = "evaluator") -> Sequence[Sequence[Score]]:
        if self.scope.watch:
            self.scope.watch.asked([ask.episode for ask in asks])
        return self._evaluation.evaluate(self.scope.writable(list(asks)), name)

    def expand(self, job: UpdateJob, /) -> Sequence[Data]:
        return self._updates.expand(job)

    def release(self, states: Sequence[State], /) -> None:
        self._updates.release(states)

    def fit(self, jobs: Sequence[UpdateJob], /, *, loss: str | Any = "sft") -> Iterator[Updated]:
        return self._updates.fit(self.scope.writable(list(jobs)), loss=loss)

    @contextmanager
    def borrow(self, state: State, /) -> Iterator[Any]:
        backend, reader = self.scope.backend(state.base), self.scope.reader(state.base)
        with ExitStack() as stack:
            yield reads.call(reader, lambda: stack.enter_context(backend.borrow(state)))

    def store(self, tensors: Mapping[str, Any], config: JSON, /) -> str:
        from harness.books.artefacts import artefact

        return self.context.weights.put(artefact(tensors, config))

    def merge(
        self, states: Sequence[State], how: str, /, *, weight: float = 0.0, density: float = 0.5, own: int = 0
    ) -> State:
        return self._updates.merge(states, how, weight=weight, density=density, own=own)

    # --- what only the core does ---

    def measure(
        self, jobs: Sequence[TrialJob], beside: Sequence[tuple[SessionService, tuple[Episode, ...] | None]] = ()
    ) -> Sequence[tuple[Sequence[Score], ...]]:
        """Update, evaluate, release, on any split. For each job: its scores, then those by each session in ``beside``.

        Args:
            beside: sessions made by :meth:`beside`, each with the episodes that it asks; None asks those of each job.
        """
        return self._updates.measure(jobs, [AskedBeside(other._evaluation, episodes) for other, episodes in beside])

    def hold(self, name: str, states: Sequence[State]) -> None:
        """Keep states' weights under a name of the core's, whatever the method releases."""
        self._updates.hold(name, states)

    def unhold(self, name: str, states: Sequence[State]) -> None:
        """End a hold."""
        self._updates.unhold(name, states)

    def answer(self, asks: Sequence[Ask]) -> Sequence[Sequence[Score]]:
        """Scores with their values on any split."""
        return self._evaluation.answer(asks)

    def without_answer(self, episode: Episode, updated: Updated) -> Iterator[Score]:
        """The scores of an episode whose update came to nothing: 0.0 if the method failed, no value if we did."""
        return self._evaluation.without_answer(episode, updated)
