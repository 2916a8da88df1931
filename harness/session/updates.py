"""Updates: the edits of a job are checked and learnt, the new state is booked, tried or released."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from harness import reads
from harness.api import (
    JSON,
    Artefact,
    Ask,
    Data,
    EditFailed,
    Episode,
    Example,
    Recipe,
    Score,
    SelfEdit,
    State,
    TrainItem,
    TrialJob,
    Updated,
    UpdateJob,
    Updater,
)
from harness.books.episodes import shown
from harness.books.item import Item
from harness.books.records import decode, derive_seed, digest, encode
from harness.errors import PluginError, UsageError
from harness.registry.build import BuiltComponent
from harness.session import answers, checks
from harness.session.calls import Calls
from harness.session.evaluation import Evaluation
from harness.session.scope import Scope
from harness.session.starts import Starts

_MADE: ContextVar[set[str] | None] = ContextVar("made", default=None)
"""The weights that the updater at work has trained so far; packs under way side by side have a set each."""


@dataclass(frozen=True)
class AskedBeside:
    """A further evaluation of trials' states, beside the session's own."""

    evaluation: Evaluation
    episodes: tuple[Episode, ...] | None
    """What is asked; None for each trial's own episodes."""

    def of(self, trial: TrialJob) -> tuple[Episode, ...]:
        return trial.episodes if self.episodes is None else self.episodes


class Updates:
    """What a session does with updaters."""

    def __init__(self, scope: Scope, calls: Calls, evaluation: Evaluation) -> None:
        self._scope = scope
        self._calls = calls
        self._evaluation = evaluation
        self._weights = scope.context.weights
        self._episodes = scope.context.episodes
        self._starts = Starts(scope)
        self._packs: list[set[str]] = []

    def update(self, name: str, jobs: Sequence[UpdateJob]) -> Sequence[Updated]:
        slot = self._scope.slot(name, Updater)
        if self._scope.watch:
            self._scope.watch.learnt(jobs)
        keys = [self._job_key("updated", slot, job) for job in jobs]
        if self._calls.is_new():
            self._scope.journal.adopt(list(dict.fromkeys(keys)), self._weights.has)
        self._calls.log("update", slot.name, slot.identity, jobs)

        def run(part: Sequence[UpdateJob]) -> Iterator[tuple[UpdateJob, Updated, float]]:
            with self._under_way() as using:
                yield from self._apply(slot, part, using)

        def item(name: str, job: UpdateJob, updated: Updated, seconds: float) -> Item:
            weights = updated.state.adapters if updated.state else ()
            for adapter in weights:
                self._weights.persist(adapter)
            cost = _update_cost(updated, seconds)
            return Item(name, "updated", slot.name, updated.status,
                        encode(updated), cost, ",".join(weights) or None, self._scope.files(slot))  # fmt: skip

        def discard(updated: Updated) -> None:
            if updated.state:
                self._drop(updated.state.adapters[-1:])

        size = self._pack_size(slot, jobs)
        results = self._calls.in_packs(jobs, keys, run, item, "update", size, discard=discard)
        done = [dataclasses.replace(decode(r), job=job.id) for job, r in zip(jobs, results, strict=True)]
        for job, updated in zip(jobs, done, strict=True):
            self._deployed(job, updated.log, updated)
        return done

    def measure(
        self, jobs: Sequence[TrialJob], beside: Sequence[AskedBeside] = (), own: Evaluation | None = None
    ) -> Sequence[tuple[Sequence[Score], ...]]:
        """Update, evaluate, release, on any split, for the core's own use.

        Returns:
            For each job, the scores of ``own`` (the session's own evaluation), then those of each one in ``beside``.
        """
        own = own or self._evaluation
        updater = self._scope.slot("updater", Updater)
        if self._scope.watch:
            self._scope.watch.learnt([job.job for job in jobs])
        self._evaluation.count_labels(episode.id for job in jobs for episode in job.episodes)
        asked = [AskedBeside(own, None), *beside]

        def key(trial: TrialJob) -> str:
            evaluator, _, episodes = own.depends(trial.episodes)
            more = [one.evaluation.depends(one.of(trial)) for one in beside]
            depends = [self._job_key("trial", updater, trial.job), evaluator, self._scope.models, episodes]
            return digest([*depends, more] if more else depends)

        def run(part: Sequence[TrialJob]) -> Iterator[tuple[TrialJob, Any, float]]:
            by_id = {trial.job.id: trial for trial in part}
            if len(by_id) != len(part):
                raise PluginError(f"method {self._scope.method.name!r}: two trial jobs of one call have the same id")
            done: list[tuple[TrialJob, Updated, float]] = []
            try:
                with self._under_way() as using:
                    done += [(by_id[job.id], u, s) for job, u, s in self._apply(updater, [t.job for t in part], using)]
                    using |= {adapter for _, updated, _ in done if updated.state for adapter in updated.state.adapters}
                    rows = [self._graded(one, done) for one in asked]
            finally:  # parked too, other packs go on
                for trial, updated, _ in done:
                    if updated.state:
                        self._drop(set(updated.state.adapters) - set(trial.job.start.adapters))
            for place, (trial, updated, seconds) in enumerate(done):
                yield trial, (updated, [row[place] for row in rows]), seconds

        def item(name: str, trial: TrialJob, result: Any, seconds: float) -> Item:
            updated, rows = result
            bad = updated.status == "error" or any(s.status == "error" for row in rows for s in row)
            cost = _update_cost(updated, seconds)
            value = {"log": updated.log, "scores": rows[0], **({"beside": rows[1:]} if beside else {})}
            files = self._scope.files(updater)
            for one in asked:
                files |= one.evaluation.files()
            return Item(name, "trial", updater.name, "error" if bad else "ok", encode(value), cost, files=files)

        size = self._pack_size(updater, [trial.job for trial in jobs])
        free = all(one.evaluation.is_free for one in asked)
        booked = self._calls.in_packs(jobs, [key(job) for job in jobs], run, item, "update", size, whole=free)
        results = list(map(decode, booked))
        for trial, value in zip(jobs, results, strict=True):
            self._deployed(trial.job, value["log"])
        return [(value["scores"], *value.get("beside", ())) for value in results]

    def _deployed(self, job: UpdateJob, log: JSON, done: Updated | None = None) -> None:
        """Note an update of the measured policy, with the sequences that its edits became."""
        facts = self._scope.facts
        if facts.stage != "deploy" or facts.validating:
            return
        sequences = {}
        for place, edit in enumerate(job.edits):
            if edit.status == "ok":
                with suppress(EditFailed):  # why is among the log, or beside the scores
                    sequences[place] = self.expand(dataclasses.replace(job, edits=(edit,)))
        self._scope.history.deployed(job, sequences, log, done)

    def _graded(self, asked: AskedBeside, done: Sequence[tuple[TrialJob, Updated, float]]) -> list[Sequence[Score]]:
        """The scores of each trial's state, by one evaluation."""
        asks = [Ask(u.state, e, 1, trial.job.seed) for trial, u, _ in done if u.state for e in asked.of(trial)]
        rows = iter(asked.evaluation.grade_all(asks))
        return [
            [score for episode in asked.of(trial) for score in
             (next(rows) if updated.state else asked.evaluation.without_answer(episode, updated))]
            for trial, updated, _ in done
        ]  # fmt: skip

    def fit(self, jobs: Sequence[UpdateJob], *, loss: str | Any = "sft") -> Iterator[Updated]:
        ready, below = [], {}
        for job in map(self._starts.prepared, jobs):
            try:
                data = tuple(self.expand(job))
            except EditFailed as error:
                yield Updated(job.id, None, "failed", str(error))
                continue
            goes_on: Literal["stack", "continue"] = "continue" if job.start_as == "continue" else "stack"
            ready.append(TrainItem(job.id, job.start, data, job.seed, job.settings, goes_on, job.retained))
            kept = job.start.adapters[:-1] if goes_on == "continue" else job.start.adapters
            below[job.id] = dataclasses.replace(job.start, adapters=kept)
        for base in dict.fromkeys(start.base for start in below.values()):
            mine = [item for item in ready if item.start.base == base]
            for trained in self._train(base, mine, loss):
                state = None
                if trained.adapter is not None:
                    new = self._weights.put(_artefact(trained.adapter))
                    if (made := _MADE.get()) is not None:
                        made.add(new)
                    start = below[trained.id]
                    state = dataclasses.replace(start, adapters=(*start.adapters, new))
                yield Updated(trained.id, state, trained.status, trained.reason, trained.log)

    def _train(self, base: str, items: Sequence[Any], loss: str | Any) -> Iterator[Any]:
        reader, backend = self._scope.reader(base), self._scope.backend(base)
        results = answers.asked(base, lambda: reads.call(reader, lambda: backend.train(items, loss=loss)))
        return answers.trained(base, reads.iterate(reader, results), items)

    def expand(self, job: UpdateJob) -> Sequence[Data]:
        out: list[Data] = []
        for edit in job.edits:
            episode = None
            for data in edit.data:
                if isinstance(data, Recipe):
                    episode = episode or self._episodes.full(edit.episode)
                    seed = derive_seed(job.seed, "expand", edit.episode)
                    seen = shown(episode, self._scope.method.sees)
                    expand = partial(self._scope.task.expand, data, seen, seed)
                    out.extend(reads.call(self._scope.built_task.reads, expand))
                else:
                    out.append(data)
        return out

    def merge(self, states: Sequence[State], how: str, *, weight: float, density: float, own: int) -> State:
        self._calls.log("merge", "session", {}, [states, how, weight, density, own])
        return self._starts.merged(states, how, weight=weight, density=density, own=own)

    def release(self, states: Sequence[State]) -> None:
        key = digest(["release", self._scope.name, self._calls.position, list(states)])
        self._calls.log("release", "session", {}, states)
        self._let_go(key, states)

    def hold(self, name: str, states: Sequence[State]) -> None:
        """Keep states' weights for the core's own use, whatever the method releases, until :meth:`unhold`."""
        key = digest(["hold", self._scope.name, name])
        weights = ",".join(a for state in states for a in state.adapters) or None
        if not self._scope.journal.find([key]):
            with self._scope.journal.writing():
                self._scope.journal.note(Item(key, "hold", "session", "ok", encode(list(states)), {}, weights))

    def unhold(self, name: str, states: Sequence[State]) -> None:
        """End a :meth:`hold` of that name."""
        self._let_go(digest(["unhold", self._scope.name, name]), states)

    def _let_go(self, key: str, states: Sequence[State]) -> None:
        """Drop one reference to each of the states' weights, once per key; weights without references are removed."""
        if self._scope.journal.find([key]):
            return
        gone = []
        with self._scope.journal.writing():
            for state in states:
                gone += [a for a in state.adapters if self._scope.journal.refer(a, -1) == 0]
            self._scope.journal.note(Item(key, "release", "session", "ok", gone))
        for adapter in gone:
            self._weights.remove(adapter)

    def _pack_size(self, slot: BuiltComponent[Updater], jobs: Sequence[UpdateJob]) -> int:
        """Jobs of a pack: what the updater says, and no more than each model that they start from says."""
        bases = {job.start.base for job in jobs}
        return min([slot.instance.wave, *(self._scope.pack_sizes(base).updates for base in bases)])

    def _job_key(self, kind: str, slot: BuiltComponent[Updater], job: UpdateJob) -> str:
        """Digest of what an update depends on, which is neither its label nor who wrote the edits."""
        edits = [[e.episode, e.data, e.settings, e.status] for e in job.edits]
        episodes = [self._episodes.identity(e.episode) for e in job.edits if any(isinstance(d, Recipe) for d in e.data)]
        source = self._scope.context.sources.get(job.start.base, "")
        depends = [slot.identity, self._scope.built_task.identity, self._scope.method.sees, source]
        rehearsed = job.earlier if slot.instance.rehearses else ()
        earlier: list[Any] = [[e.episode, e.data, e.settings] for e in rehearsed]
        earlier += [self._episodes.identity(e.episode) for e in rehearsed]
        more = [earlier] if earlier else []
        return digest([kind, *depends, job.start, job.start_as, edits, episodes, job.seed, job.settings, *more])

    @contextmanager
    def _under_way(self) -> Iterator[set[str]]:
        """The weights that a pack uses while it is under way: another one, beside it, does not let go of them."""
        using: set[str] = set()
        self._packs.append(using)
        try:
            yield using
        finally:
            self._packs = [other for other in self._packs if other is not using]

    def _drop(self, adapters: Iterable[str]) -> None:
        """Let go of weights that were never kept, save those that a pack under way uses."""
        for adapter in set(adapters) - set().union(*self._packs):
            self._weights.drop(adapter)

    def _apply(
        self, slot: BuiltComponent[Updater], jobs: Sequence[UpdateJob], using: set[str]
    ) -> Iterator[tuple[UpdateJob, Updated, float]]:
        """Run an updater over jobs, without the edits that cannot be learnt. Seconds are split evenly over the jobs."""
        ready: list[UpdateJob] = []
        left_out: dict[str, list[str]] = {}
        for job in jobs:
            usable, reasons, refused = self._sort_out(slot, job)
            if refused is not None:
                yield job, refused, 0.0
            else:
                self._check_continues(slot, usable)
                shown = usable if slot.instance.rehearses else dataclasses.replace(usable, earlier=())
                ready.append(self._starts.prepared(shown))
                using.update(ready[-1].start.adapters)
                left_out[job.id] = reasons
        by_id = {job.id: job for job in ready}
        if len(by_id) != len(ready):
            raise PluginError(f"method {self._scope.method.name!r}: two update jobs of one call have the same id")
        if not ready:
            return

        def apply() -> Any:
            return checks.drawn(self._counted(slot.instance.apply(ready, self._scope.sealed)))

        made: set[str] = set()
        token = _MADE.set(made)
        try:
            with self._scope.clock.span("update") as span:
                answered = self._calls.guard(slot, apply)
        finally:
            _MADE.reset(token)
        results = checks.updates(slot, answered, by_id)
        # What it trained on the way and no result names, such as the rounds of an update but the last, is not kept.
        self._drop(made - {adapter for one in results if one.state for adapter in one.state.adapters})
        original = {job.id: job for job in jobs}
        for updated in results:
            if reasons := left_out[updated.job]:
                log = {**updated.log, "left_out": len(reasons), "left_out_first": reasons[0]}
                updated = dataclasses.replace(updated, log=log)
            yield original[updated.job], updated, span.seconds / len(results)

    def _counted(self, answered: Any) -> Any:
        """An updater's results as they come, each a move of the bar."""
        if not isinstance(answered, Iterator):
            return answered

        def moving() -> Iterator[Any]:
            for one in answered:
                self._scope.context.progress.tick("updates")
                yield one

        return moving()

    def _check_continues(self, slot: BuiltComponent[Updater], job: UpdateJob) -> None:
        if job.start_as == "continue" and not slot.instance.continues:
            raise UsageError(
                f"job {job.id!r}: updater {slot.name!r} cannot continue an adapter; take another start_as "
                "('stack', 'fold' or 'merge'), or the updater 'lora'"
            )

    def _sort_out(self, slot: BuiltComponent[Updater], job: UpdateJob) -> tuple[UpdateJob, list[str], Updated | None]:
        """The job without the edits that cannot be learnt, the reasons, and the outcome where no edit is left."""
        for edit in job.edits:
            if edit.status == "error":
                return job, [], Updated(job.id, None, "error", edit.reason or "the edit could not be written")
        good, reasons = [], []
        for edit in job.edits:
            reason = self._unlearnable(slot, job, edit)
            if reason:
                reasons.append(reason)
            else:
                good.append(edit)
        if not good:
            reason = reasons[0] if reasons else "there is nothing to learn from"
            return job, reasons, Updated(job.id, None, "failed", reason)
        return (dataclasses.replace(job, edits=tuple(good)) if reasons else job), reasons, None

    def _unlearnable(self, slot: BuiltComponent[Updater], job: UpdateJob, edit: SelfEdit) -> str:
        """Why an edit cannot be learnt; "" where it can, or where the updater is to judge the job as a whole."""
        if edit.status == "failed":
            return edit.reason or "the edit failed"
        wrong = [d for d in edit.data if type(d) not in slot.instance.accepts and type(d) is not Recipe]
        if wrong:
            return f"updater {slot.name!r} cannot learn from {type(wrong[0]).__name__}"
        if len(job.edits) == 1:
            return ""
        # Where many edits are learnt together, one that makes no sequences, or over-long ones, is left out alone.
        try:
            data = self.expand(dataclasses.replace(job, edits=(edit,)))
        except EditFailed as error:
            return str(error)
        limit = slot.settings.get("max_length")
        examples = [d for d in data if isinstance(d, Example)]
        return self._scope.backend(job.start.base).over_long(examples, limit) if limit else ""


def _artefact(adapter: Artefact | Path) -> Artefact:
    """The weights that a backend trained: an artefact already, or a folder of files in peft's format."""
    if not isinstance(adapter, Path):
        return adapter
    from harness.books.artefacts import load_artefact

    try:
        return load_artefact(adapter)
    except Exception as error:  # safetensors raises exceptions of its own
        raise PluginError(f"the model trained an adapter to {adapter}, which cannot be read: {error}") from error


def _update_cost(updated: Updated, seconds: float) -> dict[str, float]:
    cost = {"seconds": seconds, "updates": 1.0, "tokens": float(updated.log.get("tokens", 0))}
    return {**cost, "reduced": 1.0} if updated.log.get("reduced") else cost
