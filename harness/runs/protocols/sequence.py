"""One edit after another: every context so far is asked again after each of them (SEAL, figure 6).

The split's contexts are dealt into sequences, which are learnt side by side: step i is one update of every sequence, in
one call of the updater. After it, the state of a sequence is asked the contexts that it has met, the next one, and what
else the model could do. docs/lasting.md has the measures by formula.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from harness.api import (
    HEADLINE,
    Ask,
    Bench,
    Episode,
    EvaluationProtocol,
    Measure,
    Measurement,
    Score,
    SelfEdit,
    State,
    Updated,
    UpdateJob,
)
from harness.errors import UsageError
from harness.runs.protocols import lasting
from harness.runs.protocols.drift import Drift
from harness.runs.protocols.serving import Serving

Count = Annotated[int, Field(ge=0)]
StartAs = Literal["continue", "stack", "fold", "merge", "apart", "joint"]
Serve = Literal[
    "oracle", "words", "nearest", "learnt", "superposition", "cat", "svd", "linear", "ties", "dare_linear", "dare_ties",
    "ties_svd", "dare_linear_svd", "dare_ties_svd",
]  # fmt: skip
SAID = ("norm", "loss")
"""Of an update's log, tables of their own: what might foretell forgetting, beside the divergence."""
LONGEST = 8
"""Most edits of a sequence by default, as in SEAL."""


@dataclass(frozen=True)
class SequenceSettings:
    """How contexts become sequences, what becomes of what was learnt before, and what is asked when."""

    length: Count = 0
    """Contexts of a sequence; 0 is the largest number up to 8 that divides the contexts."""
    start_as: StartAs = "continue"
    """What an update makes of those before it. ``continue``: one adapter is trained on; ``stack``, ``fold`` and
    ``merge`` as in :attr:`harness.api.UpdateJob.start_as`. ``apart``: every update starts from the model as it was, and
    each context is asked as ``serve`` says. ``joint``: every update starts from the model as it was and learns all
    edits so far, and only where everything is measured; it is not a sequence, but a ceiling for one."""
    serve: Serve = field(default="oracle", metadata={"added_later": True})
    """Where adapters are ``apart``, how they answer. ``oracle``: each context by its own, the rest by the last one.
    ``words``, ``nearest`` and ``learnt``: a router picks one for every question, of the rest too; see
    :mod:`harness.runs.protocols.serving`. ``superposition``: all in one, read through the context's own key. The others
    merge all that were learnt so far; see :mod:`harness.engine.merge`."""
    weight: Annotated[float, Field(ge=0)] = field(default=0.0, metadata={"added_later": True})
    """Weight of each adapter in a merge; 0 takes their mean, 1 their sum."""
    density: Annotated[float, Field(gt=0, le=1)] = field(default=0.5, metadata={"added_later": True})
    """Share of the entries that ``ties`` and ``dare_*`` keep."""
    writer: Literal["teacher", "current"] = "teacher"
    """Who writes the edits: the teacher before anything is learnt, or, as in SEAL, each sequence's model as it is
    then."""
    every: Annotated[int, Field(ge=1)] = 1
    """Steps between two measurements of everything; in between, only contexts just met and about to be are asked."""
    ahead: Count = 1
    """How many contexts not met yet are asked too; forward transfer needs the next one."""
    neutral: Count = 16
    """Texts on which the divergence from the model as it was is measured; 0 measures none. They are its own
    continuations of contexts of the validation split, or of the train split where that is empty."""


@dataclass
class _Sequence:
    """One sequence on its way: ``own[j]`` is the state that learnt context j where adapters are apart."""

    name: str
    contexts: Sequence[Episode]
    edits: list[tuple[SelfEdit, ...]]
    state: State
    own: dict[int, State] = field(default_factory=dict)
    failed: dict[int, Updated] = field(default_factory=dict)
    steps: float = 0.0
    tokens: float = 0.0
    said: dict[str, float] = field(default_factory=dict)
    """What the log of the last update says of it."""

    def learnt(self, upto: int) -> tuple[SelfEdit, ...]:
        """The edits of the first contexts that came to something."""
        return tuple(edit for j in range(upto) if j not in self.failed for edit in self.edits[j])


class SequenceOfEdits(EvaluationProtocol):
    """The headline's last step is every context after all edits; its table ``retention`` is the full matrix."""

    Settings = SequenceSettings

    def __init__(self, settings: SequenceSettings) -> None:
        self._settings = settings
        if settings.start_as == "joint" and settings.writer == "current":
            raise UsageError("protocol sequence: start_as 'joint' has no model of its own at every step; leave writer")
        if settings.serve != "oracle" and settings.start_as != "apart":
            raise UsageError(
                f"protocol sequence: serve {settings.serve!r} is for adapters that are apart; set protocol.start_as to "
                "'apart'"
            )

    def work(self, contexts: int, queries: int, samples: int) -> tuple[int, int]:
        """Updates and answers of a measurement, without what is asked of the rest."""
        length = self._length(contexts)
        full = len([step for step in range(length + 1) if self._full(step, length)])
        return contexts, queries * (full // 2 + 1 + self._settings.ahead)

    def measure(self, bench: Bench, /) -> Iterator[Measurement]:
        """``score`` step by step, ``retention`` and its figures, the rest of the model, and what was spent.

        Raises:
            UsageError: the contexts make no sequences of the length that is asked for.
        """
        s, episodes = bench.session, list(bench.episodes())
        length = self._length(len(episodes))
        student = s.roles["student"]
        sequences = []
        for k in range(0, len(episodes), length):
            mine = episodes[k : k + length]
            random.Random(s.seed(bench.label, "sequence", k // length)).shuffle(mine)
            sequences.append(_Sequence(f"sequence-{k // length + 1}", mine, [()] * length, student))
        if self._settings.writer == "teacher":
            groups = {group.ask.episode.id: group.edits for group in bench.edits(episodes)}
            for one in sequences:
                one.edits = [tuple(groups.get(episode.id, ())) for episode in one.contexts]
        drift = Drift(bench, student, self._settings.neutral)
        serving = self._serving(bench)
        books = lasting.Books(bench, [one.name for one in sequences], length)
        for step in range(length + 1):
            if self._settings.start_as == "joint" and not self._full(step, length):
                continue  # a training from the start that nothing would be asked of
            lost = self._learn(bench, sequences, step - 1) if step else None
            if lost is not None:
                # No further call is made: those of a resumed run, which has the update, would be other ones.
                bench.remark(f"an update of step {step} was lost, and nothing after it was measured: {lost.reason}")
                rows = bench.unanswered(episodes, lost)
                yield Measurement(HEADLINE, [score for row in rows for score in row], length)
                return
            yield from self._asked(bench, sequences, step, length, books, serving)
            if self._full(step, length):
                yield from self._rest(bench, sequences, step, serving)
            if self._full(step, length) or step == 1:
                found = [(one.name, serving.whole(one) if serving else one.state) for one in sequences]
                if whole := [(name, state) for name, state in found if state]:
                    yield from drift.measured(whole, step)
                if step:
                    edits = [one.edits[step - 1] for one in sequences]
                    yield from drift.of_edits([(*one, mine) for one, mine in zip(found, edits, strict=True)], step)
                    yield from self._said(bench, sequences, step)
            if serving:
                yield from serving.end_of_step(step)
        yield from books.figures()
        yield from self._spent(bench, sequences)
        for one in sequences:
            _release(bench, student, [one.state, *one.own.values()])

    def _serving(self, bench: Bench) -> Serving | None:
        own = self._settings
        return Serving(bench, own.serve, own.weight, own.density) if own.start_as == "apart" else None

    def _length(self, contexts: int) -> int:
        asked = self._settings.length
        length = asked or max(n for n in range(1, LONGEST + 1) if contexts % n == 0)
        if contexts % length or (length == 1 < contexts and not asked):
            size = asked or LONGEST
            whole = [n for n in (contexts // size * size, (contexts // size + 1) * size) if n]
            raise UsageError(
                f"protocol sequence: {contexts} contexts make no sequences of {'' if asked else 'up to '}{size} each; "
                f"set limit to {' or '.join(map(str, whole))}, or protocol.length to a divisor of {contexts}"
            )
        return length

    def _full(self, step: int, length: int) -> bool:
        return step in (0, length) or step % self._settings.every == 0

    # --- learning ---

    def _learn(self, bench: Bench, sequences: Sequence[_Sequence], place: int) -> Updated | None:
        """The update of every sequence on its context at ``place``, in one call; one that we lost, if there is any."""
        s, how = bench.session, self._settings.start_as
        student = s.roles["student"]
        jobs: list[UpdateJob] = []
        learning: list[_Sequence] = []
        for one in sequences:
            if self._settings.writer == "current" and bench.has_editor:
                [group] = bench.edits([one.contexts[place]], by=one.state)
                one.edits[place] = tuple(group.edits)
            if one.edits[place]:
                jobs.append(self._job(bench, one, place, student))
                learning.append(one)
        done = s.update("updater", jobs) if jobs else ()
        if lost := [updated for updated in done if updated.status == "error"]:
            return lost[0]
        before = []
        for one, updated in zip(learning, done, strict=True):
            one.steps += float(updated.log.get("steps") or 0)
            one.tokens += float(updated.log.get("tokens") or 0)
            one.said = {name: float(updated.log[name]) for name in SAID if updated.log.get(name) is not None}
            if updated.state is None:
                one.failed[place] = updated
                continue
            if how == "apart":
                one.own[place] = updated.state
            else:
                before.append(one.state)
            one.state = updated.state
        _release(bench, student, before, [one.state for one in sequences])
        failed = sum(len(one.failed) for one in sequences)
        if failed and place == len(sequences[0].contexts) - 1:
            bench.remark(f"{failed} updates failed; their contexts count as wrong from then on")
        return None

    def _job(self, bench: Bench, one: _Sequence, place: int, student: State) -> UpdateJob:
        how, s = self._settings.start_as, bench.session
        edits = self._joined(bench, one, place)
        name = f"{bench.label}/{one.name}/{place + 1}"
        seed = s.seed("inner", one.edits[place][0].id)
        if how == "joint":
            # Each context's edits are joined as in a sequence, so that the same training sequences are learnt.
            before = [self._joined(bench, one, j) for j in range(place) if j not in one.failed]
            edits = (*(edit for mine in before for edit in mine), *edits)
        if how == "apart" or how == "joint":
            return UpdateJob(name, student, edits, seed)
        earlier = one.learnt(place)
        if how == "stack" or one.state.adapters == student.adapters:
            return UpdateJob(name, one.state, edits, seed, earlier=earlier)
        return UpdateJob(name, one.state, edits, seed, start_as=how, earlier=earlier)

    def _joined(self, bench: Bench, one: _Sequence, place: int) -> tuple[SelfEdit, ...]:
        edits = one.edits[place]
        return bench.join(edits) if len(edits) > 1 else edits

    # --- asking ---

    def _asked(
        self,
        bench: Bench,
        sequences: Sequence[_Sequence],
        step: int,
        length: int,
        books: lasting.Books,
        serving: Serving | None,
    ) -> Iterator[Measurement]:
        """The contexts of every sequence: those met, and the next ones."""
        own = [name for name in bench.measures if list(bench.episodes(name)) == list(bench.episodes())]
        upto = length if step == 0 else min(length, step + self._settings.ahead)
        last = [step - 1] if step else []
        places = list(range(upto)) if self._full(step, length) else [*last, *range(step, upto)]
        for measure in own:
            rows: dict[tuple[int, int], Sequence[Score]] = {}
            at: list[tuple[int, int]] = []
            wanted: list[tuple[Sequence[State], Episode]] = []
            for k, one in enumerate(sequences):
                mine = []
                for j in places:
                    if j < step and j in one.failed:
                        [rows[k, j]] = bench.unanswered([one.contexts[j]], one.failed[j], measure)
                    else:
                        mine.append(j)
                wanted += _answering(serving, one, measure, [one.contexts[j] for j in mine], mine)
                at += [(k, j) for j in mine]
            rows |= dict(zip(at, _answers(bench, wanted, measure), strict=True))
            yield Measurement(measure, [score for key in sorted(rows) for score in rows[key]], step)
            yield from books.enter(measure, step, rows)

    def _rest(
        self, bench: Bench, sequences: Sequence[_Sequence], step: int, serving: Serving | None
    ) -> Iterator[Measurement]:
        """Measures of other items, of every sequence's state: what it could do that no edit is about."""
        own = list(bench.episodes())
        for name, measure in bench.measures.items():
            asked = list(bench.episodes(name))
            if name == HEADLINE or asked == own:
                continue
            scores: list[Score] = []
            for one in sequences:
                rows = _answers(bench, _answering(serving, one, name, asked, [None] * len(asked)), name)
                scores += lasting.of_sequence(one.name, [score for row in rows for score in row])
            yield Measurement(f"rest.{name}", scores, step, measure)

    def _said(self, bench: Bench, sequences: Sequence[_Sequence], step: int) -> Iterator[Measurement]:
        task = bench.session.task
        for name in SAID:
            scores = [Score(one.name, one.name, one.said[name]) for one in sequences if name in one.said]
            if scores:
                measure = Measure(task.name, task.version, "protocol sequence", f"{name} of the last update",
                                  unit="nats" if name == "loss" else "norm", lower_is_better=True)  # fmt: skip
                yield Measurement(f"update.{name}", scores, step, measure)

    def _spent(self, bench: Bench, sequences: Sequence[_Sequence]) -> Iterator[Measurement]:
        task = bench.session.task
        for unit in ("steps", "tokens"):
            measure = Measure(task.name, task.version, "protocol sequence", "spent", unit=unit, lower_is_better=True)
            scores = [Score(one.name, one.name, getattr(one, unit)) for one in sequences]
            yield Measurement(unit, scores, measure=measure)


def _answering(
    serving: Serving | None, one: _Sequence, measure: str, asked: Sequence[Episode], places: Sequence[int | None]
) -> list[tuple[Sequence[State], Episode]]:
    """The episodes, each with the states that answer its queries: one state, except where adapters are apart."""
    if serving is None:
        return [([one.state], episode) for episode in asked]
    return list(zip(serving.states(one, measure, asked, places), asked, strict=True))


def _answers(
    bench: Bench, wanted: Sequence[tuple[Sequence[State], Episode]], measure: str
) -> Iterator[Sequence[Score]]:
    """Per episode, the scores of its queries, each by its own state of those given, or all by the only one."""
    distinct: list[list[State]] = []
    for states, _ in wanted:
        distinct.append([])
        distinct[-1].extend(state for i, state in enumerate(states) if state not in states[:i])
    asks = [
        Ask(state, episode, 1, bench.session.seed(bench.label, "ask", episode.id))
        for states, (_, episode) in zip(distinct, wanted, strict=True)
        for state in states
    ]
    rows = iter(bench.ask(asks, measure))
    for mine, (states, _) in zip(distinct, wanted, strict=True):
        found = [next(rows) for _ in mine]
        yield found[0] if len(mine) == 1 else [found[mine.index(state)][i] for i, state in enumerate(states)]


def _release(bench: Bench, student: State, states: Iterable[State], kept: Iterable[State] = ()) -> None:
    """Release the weights of states, except those of the student and of states that are still needed."""
    needed = {student.adapters, *(state.adapters for state in kept)}
    gone = {state.adapters: state for state in states if state.adapters not in needed}
    if gone:
        bench.session.release([gone[adapters] for adapters in sorted(gone)])
