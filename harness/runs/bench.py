"""The bench that a protocol is handed: a method's session, with the values of its scores on one split."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from harness.api import (
    HEADLINE,
    Ask,
    EditAsk,
    Episode,
    Evaluator,
    Group,
    Measure,
    Score,
    SelfEdit,
    Session,
    Split,
    State,
    Task,
    TrialJob,
    Updated,
)
from harness.books.episodes import EpisodeBook, shown
from harness.errors import UsageError, nearest
from harness.registry.build import BuiltComponent
from harness.runs.edits import recorded_groups
from harness.session.service import SessionService


@dataclass(frozen=True)
class OpenAlso:
    """A measure beside the headline, opened: its task with the references, and its evaluator."""

    name: str
    task: BuiltComponent[Task]
    episodes: EpisodeBook
    evaluator: BuiltComponent[Evaluator]
    split: Split
    limit: int
    own_items: bool
    """False where it asks the items of the headline."""


class RunBench:
    """:class:`harness.api.Bench` of one method under one seed, for one split."""

    def __init__(
        self,
        service: SessionService,
        split: Split,
        *,
        samples: int,
        limit: int | None = None,
        recorded: Mapping[str, Sequence[SelfEdit]] | None = None,
        also: Sequence[OpenAlso] = (),
    ) -> None:
        """
        Args:
            limit: most episodes of the split; None takes all.
            recorded: episode -> edits of another run, used instead of writing new ones.
            also: what is measured beside the headline.
        """
        self._service = service
        self._recorded = recorded
        self._own = service.episodes(split, limit)
        self._sees = service.scope.method.sees
        self._beside = {
            one.name: (service.beside(one.name, one.evaluator, one.task, one.episodes), one) for one in also
        }
        self.session: Session = service.sealed
        self.label: str = split
        self.samples = samples
        slots = service.scope.slots
        self.has_editor = any(slot.kind == "editor" for slot in slots.values())
        self.updaters: Collection[str] = tuple(name for name, slot in slots.items() if slot.kind == "updater")
        self.measures: Mapping[str, Measure] = {
            HEADLINE: _measure(service, split),
            **{name: _measure(other, one.split) for name, (other, one) in self._beside.items()},
        }
        self.groups: list[Group] = []
        """The edits that the protocol has asked for so far."""
        self.remarks: list[str] = []

    def episodes(self, measure: str = HEADLINE, /) -> Sequence[Episode]:
        return [shown(episode, self._sees) for episode in self.full(measure)]

    def full(self, measure: str = HEADLINE, /) -> Sequence[Episode]:
        service, also = self._of(measure)
        if also is None or not also.own_items:
            return [self._service.context.episodes.full(episode.id) for episode in self._own]
        return service.context.episodes.split(also.split, also.limit or None)

    def edits(self, episodes: Sequence[Episode], /, by: State | None = None) -> Sequence[Group]:
        service = self._service
        if not self.has_editor:
            return []
        writer = service.roles["teacher"] if by is None else by
        asks = [EditAsk(e, writer, self.samples, service.seed(self.label, "edit", e.id)) for e in episodes]
        if self._recorded is None:
            groups = list(service.propose("teacher", asks))
        else:
            groups = recorded_groups(asks, self._recorded)
        self.groups += groups
        return groups

    def join(self, edits: Sequence[SelfEdit], /) -> tuple[SelfEdit, ...]:
        return tuple(self._service.task.join(edits))

    def trial(
        self, jobs: Sequence[TrialJob], measures: Collection[str] = (HEADLINE,), /
    ) -> Sequence[Mapping[str, Sequence[Score]]]:
        names = [name for name in dict.fromkeys(measures) if name != HEADLINE]
        beside = []
        for name in names:
            other, also = self._of(name)
            own = also is not None and also.own_items
            beside.append((other, tuple(self.episodes(name)) if own else None))
        rows = self._service.measure(self._service.scope.writable(list(jobs)), beside)
        return [dict(zip((HEADLINE, *names), row, strict=True)) for row in rows]

    def ask(self, asks: Sequence[Ask], measure: str = HEADLINE, /) -> Sequence[Sequence[Score]]:
        service = self._of(measure)[0]
        return service.answer(service.scope.writable(list(asks)))

    def unanswered(
        self, episodes: Sequence[Episode], updated: Updated, measure: str = HEADLINE, /
    ) -> Sequence[Sequence[Score]]:
        service = self._of(measure)[0]
        return [list(service.without_answer(episode, updated)) for episode in episodes]

    def remark(self, text: str, /) -> None:
        self.remarks.append(text)

    def remarks_on(self, table: str, measure: str, scores: Sequence[Sequence[Sequence[Score]]]) -> Sequence[str]:
        """What the task of a further measure says of its scores (:meth:`harness.api.Task.remarks`), after the table's
        name."""
        other = self._beside.get(measure)
        return [f"{table}: {said}" for said in other[1].task.instance.remarks(scores)] if other else []

    def identities(self, measure: str, episodes: Iterable[str]) -> list[str]:
        """Digests of a measure's episodes and their references."""
        return [self._of(measure)[0].context.episodes.identity(episode) for episode in episodes]

    def evaluator(self, measure: str) -> BuiltComponent[Evaluator]:
        """The evaluator that grades a measure."""
        service, also = self._of(measure)
        return service.scope.slot("evaluator", Evaluator) if also is None else also.evaluator

    def replaced(self) -> dict[str, int]:
        """Where characters were replaced that cannot be written -> how many."""
        services = [self._service, *(service for service, _ in self._beside.values())]
        books = {id(service.context.episodes): service.context.episodes for service in services}
        return {
            "the task's texts": sum(book.replaced for book in books.values()),
            "answers and edits": sum(service.scope.replaced for service in services),
        }

    def edit_tokens(self) -> int:
        """Tokens that the editor wrote for :attr:`groups`."""
        actions = [action for group in self.groups for edit in group.edits for action in edit.actions]
        return sum(int(action.cost.get("completion_tokens", len(action.tokens or ()))) for action in actions)

    def _of(self, measure: str) -> tuple[SessionService, OpenAlso | None]:
        if measure == HEADLINE:
            return self._service, None
        if measure not in self._beside:
            raise UsageError(f"the run has no measure {measure!r}.{nearest(measure, self.measures)}")
        return self._beside[measure]


def _measure(service: SessionService, split: Split) -> Measure:
    evaluator, task = service.scope.slot("evaluator", Evaluator), service.task
    metric = evaluator.instance.metric or task.metric
    return Measure(task.name, task.version, evaluator.name, metric, split)
