"""The session: every effect of a method, booked under what it is and answered from the books when it is known.

Two things make a resumed run equal to an uninterrupted one. Items are keyed by content and booked in waves of a fixed
size, so what is left over after a kill is batched as it would have been. And what a call answers has always been
through the journal's codec, whether it was computed now or in an earlier life of the run.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from harness.api import (
    JSON,
    LM,
    Ask,
    Data,
    EditAsk,
    EditFailed,
    Episode,
    Example,
    Group,
    Method,
    Recipe,
    References,
    Score,
    SelfEdit,
    Split,
    State,
    Task,
    TrialJob,
    Updated,
    UpdateJob,
)
from harness.components import Built
from harness.errors import PluginError, ReplayMismatch, RunError, UsageError, nearest
from harness.records import decode, derive_seed, digest, encode
from harness.session import checks
from harness.session.books import Books
from harness.session.clock import Clock
from harness.session.episodes import shown
from harness.session.journal import Item
from harness.session.lm import BookedLM
from harness.session.roles import Roles

_WAVE = 64
"""Jobs or asks booked together, unless the component names its own ``wave``. Fixed: see the module's docstring."""


class TimeIsUp(RunError):
    """``--max-hours`` has passed; everything finished is booked."""


class RunSession:
    """:class:`harness.api.Session` for one method and one root seed.

    Args:
        slots: the method's components; slot ``trainer`` is not called through the session.
        states: role -> start state, for the roles that do not follow another.
        follows: role -> the role it follows.
    """

    def __init__(
        self,
        books: Books,
        method: Method,
        task: Built,
        slots: Mapping[str, Built],
        states: Mapping[str, State],
        follows: Mapping[str, str],
        settings: JSON,
        root_seed: int,
    ) -> None:
        self.books = books
        self.journal = books.journal
        self.progress = books.progress
        self.clock = Clock()
        self.scope = f"{method.name}/{root_seed}"
        self.stage = "outer"
        """``outer`` while the trainer runs, ``deploy`` when its policy is measured: the costs are kept apart."""
        self.task: Task = task.instance
        self.roles: MutableMapping[str, State] = Roles(states, follows)
        self.settings = settings
        self._method = method
        self._task = task
        self._slots = slots
        self._seed = root_seed
        self._depth = 0
        self._position = 0
        self.labels: set[str] = set()
        """Queries of the outer loop that were graded against a reference: the labels that the method used."""
        self._lms: dict[str, BookedLM] = {}
        self._models = {role: [state.base, books.sources.get(state.base, "")] for role, state in states.items()}
        self._reached = {name: slot.identity for name, slot in slots.items() if slot.kind != "trainer"}
        """What an editor or a reward may call through the session, and so depends on: a trial needs the updater."""

    # --- values ---

    def seed(self, *name: object) -> int:
        return derive_seed(self._seed, *name)

    def lm(self, who: str | State, /) -> LM:
        state = self.roles[who] if isinstance(who, str) else who
        return self._booked_lm(state.base)

    def episodes(self, split: Split, /, limit: int | None = None) -> Sequence[Episode]:
        return [shown(e, self._method.sees) for e in self.books.episodes.split(split, limit)]

    def make(self, episodes: Sequence[Episode], references: Mapping[str, References], /) -> Sequence[Episode]:
        self.books.episodes.make(episodes, references)
        return [shown(episode, self._method.sees) for episode in episodes]

    def keep(self, name: str, value: JSON | None = None, /) -> JSON | None:
        if value is None:
            kept: JSON | None = self.journal.kept(self.scope, name)
            return kept
        self.journal.keep(self.scope, name, value)
        return value

    def diagnose(self, name: str, labels: Mapping[str, str], /) -> None:
        right = total = 0
        for episode in (e for split in ("train", "validation", "test", "made") for e in self._loaded(split)):
            references = self.books.episodes.key([episode.id])[episode.id]
            for query in episode.queries:
                if query.id in labels and query.id in references:
                    total += 1
                    right += any(self.task.same(query, labels[query.id], gold) for gold in references[query.id])
        self.journal.keep(self.scope, f"diagnosis/{name}/{self._position}", {"right": right, "compared": total})

    # --- effects ---

    def propose(self, role: str, asks: Sequence[EditAsk], /) -> Sequence[Group]:
        slot = self._slot(role if role in self._slots else "editor", "editor")
        asks = list(asks)

        def run() -> Any:
            for ask in asks:
                self.books.episodes.full(ask.episode.id)
            return checks.edits(slot, self._guard(slot, lambda: slot.instance.propose(asks, self)), asks)

        def status(rows: Any) -> str:
            return "error" if any(edit.status == "error" for row in rows for edit in row) else "ok"

        rows = self._call("edits", slot, asks, run, status, "generation")
        return [Group(ask, tuple(row)) for ask, row in zip(asks, rows, strict=True)]

    def reward(self, groups: Sequence[Group], /, name: str = "reward") -> Sequence[Group]:
        slot = self._slot(name, "reward")
        groups = list(groups)

        def run() -> Any:
            return checks.rewards(slot, self._guard(slot, lambda: slot.instance.score(groups, self)), groups)

        def status(rows: Any) -> str:
            return "error" if any(reward.status == "error" for row in rows for reward in row) else "ok"

        rows = self._call("rewards", slot, groups, run, status, "reward")
        return [dataclasses.replace(group, rewards=tuple(row)) for group, row in zip(groups, rows, strict=True)]

    def update(self, name: str, jobs: Sequence[UpdateJob], /) -> Sequence[Updated]:
        slot = self._slot(name, "updater")
        self._log_call("update", slot, jobs)

        def run(part: Sequence[UpdateJob]) -> Iterator[tuple[UpdateJob, Updated, float]]:
            yield from self._apply(slot, part)

        def item(job: UpdateJob, updated: Updated, seconds: float) -> Item:
            weights = updated.state.adapters if updated.state else ()
            for adapter in weights:
                self.books.weights.keep(adapter)
            cost = _update_cost(updated, seconds)
            return Item(self._job_key("updated", slot, job), "updated", slot.name, updated.status,
                        encode(updated), cost, ",".join(weights) or None)  # fmt: skip

        keys = [self._job_key("updated", slot, job) for job in jobs]
        results = self._in_waves(jobs, keys, run, item, "update", getattr(slot.instance, "wave", _WAVE))
        return [dataclasses.replace(decode(r), job=job.id) for job, r in zip(jobs, results, strict=True)]

    def trial(self, jobs: Sequence[TrialJob], /) -> Sequence[Sequence[Score]]:
        for job in jobs:
            for episode in job.episodes:
                if self.books.episodes.full(episode.id).split == "test":
                    raise PluginError(f"method {self._method.name!r}: a trial may not use test episode {episode.id!r}")
        self._log_call("trial", self._slot("updater", "updater"), jobs)
        return self.measure(jobs)

    def measure(self, jobs: Sequence[TrialJob]) -> Sequence[Sequence[Score]]:
        """Update, ask, release, on any split: what the core itself does with test episodes."""
        updater, evaluator = self._slot("updater", "updater"), self._slot("evaluator", "evaluator")
        self._count_labels(episode.id for job in jobs for episode in job.episodes)

        def key(trial: TrialJob) -> str:
            asked = [self.books.episodes.identity(e.id) for e in trial.episodes]
            return digest([self._job_key("trial", updater, trial.job), evaluator.identity, self._models, asked])

        def run(part: Sequence[TrialJob]) -> Iterator[tuple[TrialJob, Any, float]]:
            by_id = {trial.job.id: trial for trial in part}
            if len(by_id) != len(part):
                raise PluginError(f"method {self._method.name!r}: two trial jobs of one call have the same id")
            done = [(by_id[job.id], u, s) for job, u, s in self._apply(updater, [t.job for t in part])]
            asks = [Ask(u.state, e, 1, t.job.seed) for t, u, _ in done if u.state for e in t.episodes]
            rows = iter(self._evaluate(evaluator, asks))
            for trial, updated, seconds in done:
                if updated.state:
                    scores = [score for _ in trial.episodes for score in next(rows)]
                    for adapter in updated.state.adapters[len(trial.job.start.adapters) :]:
                        self.books.weights.drop(adapter)
                else:
                    scores = [s for e in trial.episodes for s in self.without_answer(e, updated)]
                yield trial, (updated, scores), seconds

        def item(trial: TrialJob, result: Any, seconds: float) -> Item:
            updated, scores = result
            bad = updated.status == "error" or any(s.status == "error" for s in scores)
            cost = _update_cost(updated, seconds)
            value = {"log": updated.log, "scores": scores}
            return Item(key(trial), "trial", updater.name, "error" if bad else "ok", encode(value), cost)

        wave = getattr(updater.instance, "wave", _WAVE)
        results = self._in_waves(jobs, [key(job) for job in jobs], run, item, "update", wave)
        return [decode(result)["scores"] for result in results]

    def evaluate(self, asks: Sequence[Ask], /) -> Sequence[Sequence[Score]]:
        rows = self.answer(asks)
        hidden = [self.books.episodes.full(ask.episode.id).split == "test" for ask in asks]
        return [
            [dataclasses.replace(s, value=None, parts={}) for s in row] if hide else row
            for row, hide in zip(rows, hidden, strict=True)
        ]

    def answer(self, asks: Sequence[Ask]) -> Sequence[Sequence[Score]]:
        """Scores with their values on any split: what the core itself books."""
        evaluator = self._slot("evaluator", "evaluator")
        self._log_call("evaluate", evaluator, asks)
        self._count_labels(ask.episode.id for ask in asks)

        def key(ask: Ask) -> str:
            asked = self.books.episodes.identity(ask.episode.id)
            return digest(
                [
                    "scores",
                    evaluator.identity,
                    self._task.identity,
                    self._models,
                    ask.state,
                    asked,
                    ask.samples,
                    ask.seed,
                ]
            )

        def run(part: Sequence[Ask]) -> Iterator[tuple[Ask, Any, float]]:
            for ask, scores in zip(part, self._evaluate(evaluator, part), strict=True):
                yield ask, scores, 0.0

        def item(ask: Ask, scores: Any, seconds: float) -> Item:
            bad = any(score.status == "error" for score in scores)
            return Item(key(ask), "scores", evaluator.name, "error" if bad else "ok", encode(scores), {})

        results = self._in_waves(asks, [key(ask) for ask in asks], run, item, "grading", _WAVE)
        return [decode(result) for result in results]

    def release(self, states: Sequence[State], /) -> None:
        key = digest(["release", self.scope, self._position, list(states)])
        self._log_call("release", Built("session", "release", None, {}, {}, "the core"), states)
        if self.journal.find([key]):
            return
        gone = []
        with self.journal.writing():
            for state in states:
                gone += [a for a in state.adapters if self.journal.refer(a, -1) == 0]
            self.journal.book([Item(key, "release", "session", "ok", gone)])
        for adapter in gone:
            self.books.weights.remove(adapter)

    def fit(self, jobs: Sequence[UpdateJob], /, *, loss: str | Any = "sft") -> Iterator[Updated]:
        from harness.models.base import TrainItem

        ready, starts = [], {}
        for job in jobs:
            try:
                data = tuple(self.expand(job))
            except EditFailed as error:
                yield Updated(job.id, None, "failed", str(error))
                continue
            ready.append(TrainItem(job.id, job.start, data, job.seed, job.settings))
            starts[job.id] = job.start
        for base in dict.fromkeys(start.base for start in starts.values()):
            mine = [item for item in ready if item.start.base == base]
            for trained in self._backend(base).train(mine, loss=loss):
                state = None
                if trained.adapter is not None:
                    new = self.books.weights.put(trained.adapter)
                    start = starts[trained.id]
                    state = dataclasses.replace(start, adapters=(*start.adapters, new))
                yield Updated(trained.id, state, trained.status, trained.reason, trained.log)

    def expand(self, job: UpdateJob, /) -> Sequence[Data]:
        out: list[Data] = []
        for edit in job.edits:
            episode = None
            for data in edit.data:
                if isinstance(data, Recipe):
                    episode = episode or self.books.episodes.full(edit.episode)
                    seed = derive_seed(job.seed, "expand", edit.episode)
                    out.extend(self.task.expand(data, shown(episode, self._method.sees), seed))
                else:
                    out.append(data)
        return out

    def borrow(self, state: State, /) -> AbstractContextManager[Any]:
        borrowed: AbstractContextManager[Any] = self._backend(state.base).borrow(state)
        return borrowed

    def store(self, tensors: Mapping[str, Any], config: JSON, /) -> str:
        from harness.models.artefacts import artefact

        return self.books.weights.put(artefact(tensors, config))

    # --- how it is done ---

    def _count_labels(self, episodes: Iterable[str]) -> None:
        if self.stage == "outer":
            for name in episodes:
                if self.books.episodes.full(name).split != "made":
                    self.labels.update(self.books.episodes.key([name])[name])

    def check_time(self) -> None:
        """Stop here if ``--max-hours`` has passed; called where everything finished is booked."""
        if self.books.deadline and time.monotonic() > self.books.deadline:
            raise TimeIsUp("the run's --max-hours have passed; everything finished is booked")

    def _booked_lm(self, base: str) -> BookedLM:
        if base not in self._lms:
            self._lms[base] = BookedLM(self._backend(base), self, self.books.sources.get(base, ""))
        return self._lms[base]

    def _backend(self, base: str) -> Any:
        if base not in self.books.models:
            raise PluginError(f"method {self._method.name!r} asks a model that the run does not have: {base!r}")
        return self.books.models[base]

    def _slot(self, name: str, kind: str) -> Built:
        slot = self._slots.get(name)
        if slot is None or slot.kind != kind:
            of_kind = [n for n, s in self._slots.items() if s.kind == kind]
            raise UsageError(f"method {self._method.name!r} has no {kind} slot {name!r}.{nearest(name, of_kind)}")
        return slot

    def _loaded(self, split: Any) -> Sequence[Episode]:
        return self.books.episodes.split(split)

    def _guard(self, slot: Built, run: Callable[[], Any]) -> Any:
        """Run a component's code: what it raises becomes one line that names it."""
        self._depth += 1
        try:
            return checks.guarded(slot, run)
        finally:
            self._depth -= 1

    def _log_call(self, kind: str, slot: Built, inputs: Any) -> None:
        """Hold a call of the loop against the one that was recorded at its place."""
        if self._depth:
            return
        now = (kind, slot.name, digest([kind, slot.identity, self._task.identity, list(inputs)]))
        before = self.journal.call_at(self.scope, self._position)
        if before is None:
            self.journal.add_call(self.scope, self._position, *now)
        elif before != now and self.books.recompute:
            self.journal.forget_calls(self.scope, self._position)
            self.journal.add_call(self.scope, self._position, *now)
        elif before != now:
            raise ReplayMismatch(
                f"{self.scope}: call {self._position} was {before[0]} by {before[1]!r} "
                f"and is now {now[0]} by {now[1]!r}"
                f"{' with other inputs' if before[:2] == now[:2] else ''}. The method's code changed, or its loop "
                "depends on something that is not journalled. `harness resume --recompute` goes on from here"
            )
        self._position += 1

    def _call(
        self, kind: str, slot: Built, inputs: Any, run: Callable[[], Any], status: Callable[[Any], str], phase: str
    ) -> Any:
        """A call whose items depend on each other: one item of the journal."""
        self._log_call(kind, slot, inputs if isinstance(inputs, list) else [inputs])
        reached = [slot.identity, self._reached, self._task.identity, self._models, dict(self.roles)]
        key = digest([kind, *reached, self._method.sees, inputs])
        known = self.journal.find([key])
        if key in known:
            self.journal.reused += 1
            result = known[key].result
        else:
            with self.clock.span(phase) as span:
                value = run()
            result = encode(value)
            deltas = sorted(checks.deltas(value))
            for adapter in deltas:
                self.books.weights.keep(adapter)
            with self.journal.writing():
                self.journal.book(
                    [Item(key, kind, slot.name, status(value), result, {"seconds": span.seconds},
                          ",".join(deltas) or None)]
                )  # fmt: skip
        with self.journal.writing():
            self.journal.touch(self.scope, phase or self.clock.phase, self.stage, [key])
        self.check_time()
        return decode(result)

    def _in_waves(
        self,
        jobs: Sequence[Any],
        keys: Sequence[str],
        run: Callable[[Sequence[Any]], Iterator[tuple[Any, Any, float]]],
        item: Callable[[Any, Any, float], Item],
        phase: str,
        wave: int,
    ) -> list[Any]:
        """A call of independent jobs: those not booked yet are run and booked in waves; results in job order."""
        known = {key: it.result for key, it in self.journal.find(list(dict.fromkeys(keys))).items()}
        self.journal.reused += len(known)
        pending = [job for key, job in {k: j for k, j in zip(keys, jobs, strict=True) if k not in known}.items()]
        if pending and phase == "update":
            self.progress.begin("updates", len(pending))
        with self.clock.span(phase):
            for start in range(0, len(pending), wave):
                part = pending[start : start + wave]
                items = [item(*result) for result in run(part)]
                with self.journal.writing():
                    self.journal.book(items)
                known |= {it.digest: it.result for it in items}
                if phase == "update":
                    self.progress.advance("updates", len(part), sum(it.cost["seconds"] for it in items))
                self.check_time()
        with self.journal.writing():
            self.journal.touch(self.scope, phase, self.stage, list(dict.fromkeys(keys)))
        return [known[key] for key in keys]

    def _job_key(self, kind: str, slot: Built, job: UpdateJob) -> str:
        """What an update depends on: not its label, and not who wrote the edits."""
        edits = [[e.episode, e.data, e.settings, e.status] for e in job.edits]
        episodes = [
            self.books.episodes.identity(e.episode) for e in job.edits if any(isinstance(d, Recipe) for d in e.data)
        ]
        return digest(
            [kind, slot.identity, self._task.identity, self._method.sees, self.books.sources.get(job.start.base, ""),
             job.start, edits, episodes, job.seed, job.settings, job.replay]
        )  # fmt: skip

    def _apply(self, slot: Built, jobs: Sequence[UpdateJob]) -> Iterator[tuple[UpdateJob, Updated, float]]:
        """Run an updater over jobs; what cannot be trained on is sorted out first. Seconds are split evenly."""
        ready: list[UpdateJob] = []
        left_out: dict[str, list[str]] = {}
        for job in jobs:
            usable, reasons, refused = self._sort_out(slot, job)
            if refused is not None:
                yield job, refused, 0.0
            else:
                ready.append(usable)
                left_out[job.id] = reasons
        by_id = {job.id: job for job in ready}
        if len(by_id) != len(ready):
            raise PluginError(f"method {self._method.name!r}: two update jobs of one call have the same id")
        results: list[Updated] = []
        with self.clock.span("update") as span:
            self._guard(slot, lambda: results.extend(slot.instance.apply(ready, self)) if ready else None)
        checks.updates(slot, results, by_id)
        original = {job.id: job for job in jobs}
        for updated in results:
            if reasons := left_out[updated.job]:
                log = {**updated.log, "left_out": len(reasons), "left_out_first": reasons[0]}
                updated = dataclasses.replace(updated, log=log)
            yield original[updated.job], updated, span.seconds / len(results)

    def _sort_out(self, slot: Built, job: UpdateJob) -> tuple[UpdateJob, list[str], Updated | None]:
        """The job without the edits that cannot be learnt, why not, and what is said where nothing is left of it."""
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

    def _unlearnable(self, slot: Built, job: UpdateJob, edit: SelfEdit) -> str:
        """Why an edit cannot be learnt; "" where it can, or where the updater is to say so of the whole job."""
        if edit.status == "failed":
            return edit.reason or "the edit failed"
        wrong = [d for d in edit.data if type(d) not in slot.instance.accepts and type(d) is not Recipe]
        if wrong:
            return f"updater {slot.name!r} cannot learn from {type(wrong[0]).__name__}"
        if len(job.edits) == 1:
            return ""
        # Where many edits are learnt together, one that makes no sequences, or over-long ones, costs itself only.
        try:
            data = self.expand(dataclasses.replace(job, edits=(edit,)))
        except EditFailed as error:
            return str(error)
        check = getattr(self._backend(job.start.base), "over_long", None)
        limit = slot.settings.get("max_length")
        return str(check([d for d in data if isinstance(d, Example)], limit)) if check and limit else ""

    def _evaluate(self, slot: Built, asks: Sequence[Ask]) -> list[Sequence[Score]]:
        full = [dataclasses.replace(ask, episode=self.books.episodes.full(ask.episode.id)) for ask in asks]
        key = self.books.episodes.key([ask.episode.id for ask in asks])
        rows: list[Sequence[Score]] = []
        with self.clock.span("grading"):
            self._guard(slot, lambda: rows.extend(slot.instance.evaluate(full, key, self)) if full else None)
        checks.scores(slot, rows, full)
        return rows

    def without_answer(self, episode: Episode, updated: Updated) -> Iterator[Score]:
        """The scores of an episode whose update came to nothing: wrong if the method failed, absent if we did."""
        value = 0.0 if updated.status == "failed" else None
        for query in self.books.episodes.full(episode.id).queries:
            yield Score(episode.id, query.id, value, updated.status, (), {"reason": updated.reason})


def _update_cost(updated: Updated, seconds: float) -> dict[str, float]:
    cost = {"seconds": seconds, "updates": 1.0, "tokens": float(updated.log.get("tokens", 0))}
    return {**cost, "reduced": 1.0} if updated.log.get("reduced") else cost
