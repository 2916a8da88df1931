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

Count = Annotated[int, Field(ge=0)]
StartAs = Literal["continue", "stack", "fold", "merge", "apart", "joint"]
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
    each context is asked of its own (an oracle routes; the rest is asked of the last one). ``joint``: every update
    starts from the model as it was and learns all edits so far, and only where everything is measured; it is not a
    sequence, but a ceiling for one."""
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
    """One sequence on its way: ``own[j]`` is the state that context j is asked of where adapters are apart."""

    name: str
    contexts: Sequence[Episode]
    edits: list[tuple[SelfEdit, ...]]
    state: State
    own: dict[int, State] = field(default_factory=dict)
    failed: dict[int, Updated] = field(default_factory=dict)
    steps: float = 0.0
    tokens: float = 0.0

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
            yield from self._asked(bench, sequences, step, length, books)
            if self._full(step, length):
                yield from self._rest(bench, sequences, step, length)
            if self._full(step, length) or step == 1:
                yield from drift.measured([(one.name, one.state) for one in sequences], step)
        yield from books.figures()
        yield from self._spent(bench, sequences)
        for one in sequences:
            _release(bench, student, [one.state, *one.own.values()])

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
        edits = one.edits[place]
        name = f"{bench.label}/{one.name}/{place + 1}"
        seed = s.seed("inner", edits[0].id)
        if how == "joint":
            edits = (*one.learnt(place), *edits)
        if len(edits) > 1:
            edits = bench.join(edits)
        if how == "apart" or how == "joint":
            return UpdateJob(name, student, edits, seed)
        earlier = one.learnt(place)
        if how == "stack" or one.state.adapters == student.adapters:
            return UpdateJob(name, one.state, edits, seed, earlier=earlier)
        return UpdateJob(name, one.state, edits, seed, start_as=how, earlier=earlier)

    # --- asking ---

    def _asked(
        self, bench: Bench, sequences: Sequence[_Sequence], step: int, length: int, books: lasting.Books
    ) -> Iterator[Measurement]:
        """The contexts of every sequence: those met, and the next ones."""
        s = bench.session
        own = [name for name in bench.measures if list(bench.episodes(name)) == list(bench.episodes())]
        upto = length if step == 0 else min(length, step + self._settings.ahead)
        last = [step - 1] if step else []
        places = list(range(upto)) if self._full(step, length) else [*last, *range(step, upto)]
        for measure in own:
            asks: list[Ask] = []
            rows: dict[tuple[int, int], Sequence[Score]] = {}
            at: list[tuple[int, int]] = []
            for k, one in enumerate(sequences):
                for j in places:
                    gone = one.failed.get(j) if j < step else None
                    if gone is not None:
                        [rows[k, j]] = bench.unanswered([one.contexts[j]], gone, measure)
                        continue
                    state = one.own.get(j, s.roles["student"]) if self._settings.start_as == "apart" else one.state
                    episode = one.contexts[j]
                    asks.append(Ask(state, episode, 1, s.seed(bench.label, "ask", episode.id)))
                    at.append((k, j))
            rows |= dict(zip(at, bench.ask(asks, measure), strict=True))
            yield Measurement(measure, [score for key in sorted(rows) for score in rows[key]], step)
            yield from books.enter(measure, step, rows)

    def _rest(self, bench: Bench, sequences: Sequence[_Sequence], step: int, length: int) -> Iterator[Measurement]:
        """Measures of other items, of every sequence's state: what it could do that no edit is about."""
        s, own = bench.session, list(bench.episodes())
        for name, measure in bench.measures.items():
            asked = list(bench.episodes(name))
            if name == HEADLINE or asked == own:
                continue
            scores: list[Score] = []
            for one in sequences:
                seeds = [s.seed(bench.label, "ask", e.id) for e in asked]
                rows = bench.ask([Ask(one.state, e, 1, seed) for e, seed in zip(asked, seeds, strict=True)], name)
                scores += lasting.of_sequence(one.name, [score for row in rows for score in row])
            yield Measurement(f"rest.{name}", scores, step, measure)

    def _spent(self, bench: Bench, sequences: Sequence[_Sequence]) -> Iterator[Measurement]:
        task = bench.session.task
        for unit in ("steps", "tokens"):
            measure = Measure(task.name, task.version, "protocol sequence", "spent", unit=unit, lower_is_better=True)
            scores = [Score(one.name, one.name, getattr(one, unit)) for one in sequences]
            yield Measurement(unit, scores, measure=measure)


def _release(bench: Bench, student: State, states: Iterable[State], kept: Iterable[State] = ()) -> None:
    """Release the weights of states, except those of the student and of states that are still needed."""
    needed = {student.adapters, *(state.adapters for state in kept)}
    gone = {state.adapters: state for state in states if state.adapters not in needed}
    if gone:
        bench.session.release([gone[adapters] for adapters in sorted(gone)])
