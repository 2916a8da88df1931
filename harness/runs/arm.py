"""One method under one root seed: its outer loop, the choice of a checkpoint, and its measurement on the test split."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness import reads
from harness.api import HEADLINE, Component, EvaluationProtocol, HarnessError, Model, Round, State, Task, Trainer
from harness.books import world
from harness.errors import PluginError, UsageError
from harness.events import RoundFinished
from harness.registry.build import BASES, BuiltComponent, build, hand_ledger
from harness.registry.discover import Plugins
from harness.registry.plugin import blaming
from harness.registry.settings import check_settings
from harness.runs.bench import OpenAlso, RunBench
from harness.runs.collect import Outcome, RoundRecord, outcome
from harness.runs.config import Config
from harness.runs.edits import read_edits
from harness.runs.layers import Arm
from harness.runs.measured import take
from harness.session import checks
from harness.session.ambient import put_back
from harness.session.context import RunContext
from harness.session.packs import PackSizes
from harness.session.roles import Roles
from harness.session.scope import Scope
from harness.session.service import SessionService
from harness.workers.chosen import NO_WORKERS, Workers
from harness.workers.model import STAYS, PooledModel
from harness.workers.pool import Pool, can_cross

_log = logging.getLogger("harness")


@dataclass
class OpenRun:
    """What a run has open and its rows share: plugins, task, context and models."""

    plugins: Plugins
    config: Config
    context: RunContext
    task: BuiltComponent[Task]
    also: Sequence[OpenAlso] = ()
    """What is measured beside the headline."""
    workers: Workers = NO_WORKERS
    """Who computes the packs of local models."""
    pools: list[Pool] = field(default_factory=list)
    """The workers of each model that has some."""
    _opened: dict[str, Model] = field(default_factory=dict)

    def open_model(self, table: Mapping[str, Any]) -> Model:
        """The model of a table, opened once; the session then finds it by the digest that states name."""
        key = json.dumps(table, sort_keys=True)
        if key not in self._opened:
            # Batch limits depend on the memory that is free at first, and the order of sums on the number of threads.
            # Both are recorded, so that a resumed run gets the same bits.
            fact = f"limits/{key}"
            journal = self.context.journal
            limits = journal.fact(fact) or (journal.earlier.fact(fact) if journal.earlier else None)
            built = build(self.plugins, Model, _with_limits(table, limits or {}), "model", self.context.weights)
            model = built.instance
            if self.workers:
                built, model, limits = self._pooled(table, built, limits)
            hand_ledger(built, journal.ledger)
            self._opened[key] = model
            self.context.readers.setdefault(model.base, built.reads)
            self.context.models.setdefault(model.base, model)
            self.context.sources.setdefault(model.base, str(built.identity["source"]))
            found = limits or reads.call(built.reads, lambda: _limits(built))
            if journal.fact(fact) is None and found:
                journal.set_fact(fact, found)
            sizes = journal.fact(f"packs/{key}")
            if sizes is None:
                sizes = reads.call(built.reads, lambda: asdict(PackSizes(model.chunk, model.wave)))
                journal.set_fact(f"packs/{key}", sizes)
            self.context.packs.setdefault(model.base, PackSizes(**sizes))
        return self._opened[key]

    def _pooled(
        self, table: Mapping[str, Any], built: BuiltComponent[Model], limits: Any
    ) -> tuple[BuiltComponent[Model], Model, Any]:
        """The model with its packs computed by workers, and the batch limits; itself where workers cannot hold it.

        Raises:
            UsageError: the workers are not like those that the run was begun with, or not like each other.
        """
        context, journal, own = self.context, self.context.journal, built.instance
        why = can_cross(own)
        if why:
            context.progress.say(f"model {built.name!r} stays in the driver's process: {why}")
            return built, own, limits
        settings = check_settings(type(own).Settings, built.settings, "model", f"model {built.name!r}")
        reads.call(built.reads, lambda: own.can)  # what the driver imports for it takes as long as a worker's start
        pool, facts = self.workers.pool(own, settings, context.progress.say)
        self.pools.append(pool)
        fact = f"workers/{json.dumps(table, sort_keys=True)}"
        if (before := journal.fact(fact)) is None:
            journal.set_fact(fact, dict(facts.environment))
        elif differ := world.differences(before, facts.environment):
            raise UsageError(f"{context.folder}: its packs were computed by workers with {'; '.join(differ)}")
        if not limits:
            limits = {"memory": facts.memory, "threads": facts.threads} if facts.memory else {}
            built = build(self.plugins, Model, _with_limits(table, limits), "model", context.weights)
            own = built.instance
        pool.start({name: limits[name] for name in ("memory", "threads") if name in limits})
        context.turns.width = max(context.turns.width, 2 * pool.size)  # so that no worker waits for the driver
        context.progress.say(
            f"model {built.name!r}: {pool.size} workers ({self.workers.executor or 'processes'}, "
            f"{self.workers.devices}); in the driver stay {STAYS}"
        )
        return (
            built,
            PooledModel(own, facts.identity, pool, context.weights, context.turns.wait, context.turns.spent),
            limits,
        )

    def close(self) -> None:
        """End the workers."""
        for pool in self.pools:
            pool.close()

    def can(self, table: Mapping[str, Any]) -> frozenset[str]:
        """What the model of a table can do."""
        model = self.open_model(table)
        can: frozenset[str] = reads.call(self.context.readers[model.base], lambda: model.can)
        return can

    def model_names(self) -> dict[str, str]:
        """Base digest -> the model as its table names it, for messages."""
        tables = {key: json.loads(key) for key in self._opened}
        return {self._opened[key].base: str(table.get("path") or table["use"]) for key, table in tables.items()}


def _limits(built: BuiltComponent[Any]) -> dict[str, Any]:
    """Batch limits and threads that a model and its nested models found, in the form of its table."""
    own = built.instance.memory()
    nested = {name: found for name, part in built.nested.items() if (found := _limits(part))}
    if not own:
        return nested
    if "threads" not in built.settings:
        return {"memory": own, **nested}
    import torch

    return {"memory": own, "threads": torch.get_num_threads(), **nested}


def _with_limits(table: Mapping[str, Any], limits: Mapping[str, Any]) -> dict[str, Any]:
    """A model's table with recorded limits, except where it sets its own."""
    out = dict(table)
    for name, found in limits.items():
        if name in ("memory", "threads"):
            out[name] = table.get(name) or found
        else:
            inner = table[name]
            out[name] = _with_limits({"use": inner} if isinstance(inner, str) else inner, found)
    return out


def check_arm(opened: OpenRun, arm: Arm) -> None:
    """Refuse a method whose components cannot be made, or whose editing model cannot do what it needs, before anything
    is spent.

    Raises:
        UsageError: which, and why.
        PluginError: a component violates its contract.
    """
    _components(opened, arm)
    for role, who in arm.roles.items():
        if isinstance(who, str):
            continue
        lacks = sorted(arm.method.needs - opened.can(who)) if role == "teacher" else []
        if lacks:
            raise UsageError(
                f"method {arm.method.name!r} needs a {role} that can {' and '.join(lacks)}, and "
                f"{who.get('path') or who['use']!r} cannot; take a method without an outer loop, or another model"
            )


def _components(
    opened: OpenRun, arm: Arm
) -> tuple[dict[str, BuiltComponent[Component]], BuiltComponent[EvaluationProtocol]]:
    """What a method's slots and protocol name, constructed."""
    slots = {
        name: build(opened.plugins, BASES[table["kind"]], {k: v for k, v in table.items() if k != "kind"}, name)
        for name, table in arm.slots.items()
    }
    return slots, build(opened.plugins, EvaluationProtocol, arm.protocol, "protocol")


def run_arm(opened: OpenRun, arm: Arm, seed: int) -> Outcome:
    """Train the policy, choose a round, and measure it on the test split.

    Raises:
        UsageError: a component's source changed since the run's results were booked.
        PluginError: a component raised, or answered wrongly.
    """
    options, context = opened.config.options, opened.context
    context.episodes.forget_made()
    slots, protocol = _components(opened, arm)
    for slot in slots.values():
        if slot.kind == "evaluator":
            hand_ledger(slot, context.journal.ledger)
    beside = {f"also.{one.name}.{kind}": getattr(one, kind) for one in opened.also for kind in ("task", "evaluator")}
    _check_sources(context, arm, {**slots, "protocol": protocol, **beside, "task": opened.task})
    states = {r: State(opened.open_model(who).base) for r, who in arm.roles.items() if not isinstance(who, str)}
    follows = {role: who.removeprefix("@") for role, who in arm.roles.items() if isinstance(who, str)}
    settings = opened.config.as_json()
    session = SessionService(Scope(context, arm.method, opened.task, slots, states, follows, settings, seed))
    has_editor = any(slot.kind == "editor" for slot in slots.values())

    def validate() -> float | None:
        """Macro score of one edit per validation context, whatever the test's protocol; None without validation."""
        if not (options.validation and has_editor):
            return None
        bench = RunBench(session, "validation", samples=1, limit=options.validation)
        single = build(opened.plugins, EvaluationProtocol, {"use": "single"}, "protocol")
        with session.validating():
            return take(single, bench)[HEADLINE].macro()

    rounds: list[RoundRecord] = []
    held: set[int] = set()
    if slots["trainer"].name != "none":
        rounds.append(RoundRecord(-1, dict(Roles(states, follows)), validate()))
        session.scope.history.checkpoint(-1, rounds[-1].validation, {})
    for done in _rounds(session.scope.slot("trainer", Trainer), session):
        # The method may release the round's states as soon as it goes on; a checkpoint must be there to be chosen.
        session.hold(f"round {len(rounds)}", _states(done.roles))
        held.add(len(rounds))
        score = validate()
        rounds.append(RoundRecord(done.index, dict(done.roles), score, dict(done.metrics)))
        session.scope.history.checkpoint(done.index, score, done.metrics)
        validates = options.validation > 0 and has_editor
        open_to_choice = choosable([record.validation for record in rounds], options.checkpoint, validates)
        for index in sorted(held - open_to_choice):
            session.unhold(f"round {index}", _states(rounds[index].roles))
        held &= open_to_choice
        context.progress.say(_round_line(arm, seed, rounds[-1]))
        observe(
            opened.plugins, "harness_round_finished", RoundFinished(context.folder, arm.method.name, seed, done, score)
        )
    chosen = choose([record.validation for record in rounds], options.checkpoint)
    if chosen is not None:
        for role, state in rounds[chosen].roles.items():
            if session.roles[role] != state:
                session.roles[role] = state
    session.deploying()
    recorded = None
    if options.edits and has_editor and arm.slots["editor"] == opened.config.arms[0].slots["editor"]:
        recorded = read_edits(Path(options.edits), arm.method.name, seed)
    bench = RunBench(session, "test", samples=arm.samples, recorded=recorded, also=opened.also)
    tables = take(protocol, bench)
    meta_s = sum(slot.instance.meta_s for slot in slots.values())
    return outcome(context, arm, seed, session, protocol, bench, tables, rounds, chosen, meta_s)


def choose(validation: Sequence[float | None], rule: str) -> int | None:
    """Index of the round to test: the best on validation (of equals the first), or the last where ``rule`` says so or a
    score is unknown; None without rounds."""
    if not validation:
        return None
    if rule == "last" or any(score is None for score in validation):
        return len(validation) - 1
    best = max(score for score in validation if score is not None)
    return list(validation).index(best)


def choosable(validation: Sequence[float | None], rule: str, validates: bool) -> set[int]:
    """The rounds so far that :func:`choose` may still name at the end of the run; the others' weights need not be kept.

    A missing score is measured again on resume, so every round from there on stays choosable.
    """
    last = len(validation) - 1
    if rule == "last" or not validates:
        return {last}
    missing = [index for index, score in enumerate(validation) if score is None]
    known = validation[: missing[0]] if missing else validation
    best = {choose(known, rule)} if known else set()
    return {index for index in best if index is not None} | set(range(len(known), last + 1))


def _states(roles: Mapping[str, State]) -> list[State]:
    """The distinct states of a round's roles, in a fixed order."""
    return [
        roles[role] for role in sorted(roles) if all(roles[role] != roles[other] for other in roles if other < role)
    ]


def observe(plugins: Plugins, hook: str, event: Any) -> None:
    """Call an observer hook of every imported plugin; an exception becomes a warning."""
    for plugin in plugins.observers():
        try:
            with blaming(f"{plugin.info}: observer {hook} raised"):
                getattr(plugin.manager.hook, hook)(event=event)
        except HarnessError as error:
            _log.warning("%s; the run goes on", error)


def _rounds(trainer: BuiltComponent[Trainer], session: SessionService) -> Iterator[Round]:
    """A trainer's rounds; an exception of its own code becomes one line that names it."""
    who = f"{trainer.plugin}: trainer {trainer.name!r}"
    with blaming(f"{who} raised"):
        rounds = trainer.instance.run(session.sealed)
        if not isinstance(rounds, Iterable):
            raise PluginError(f"{who}: run must yield rounds, or return none: []")
        iterator, end = iter(rounds), object()
        while True:
            with put_back(who):
                done = next(iterator, end)
            if done is end:
                return
            yield checks.round_of(trainer, done)


def _round_line(arm: Arm, seed: int, record: RoundRecord) -> str:
    said = [
        f"{key.replace('_', ' ')} {value:.3g}" if isinstance(value, float) else f"{key.replace('_', ' ')} {value}"
        for key, value in record.metrics.items()
        if isinstance(value, (int, float, str))
    ]
    if record.validation is not None:
        said.append(f"validation {100 * record.validation:.1f}")
    return f"{arm.method.name}, seed {seed}, round {record.index + 1}: {', '.join(said)}"


def _check_sources(context: RunContext, arm: Arm, components: Mapping[str, BuiltComponent[Component]]) -> None:
    """Refuse components that differ from those that the journal's results were made with."""
    name = f"components/{arm.method.name}"
    now = json.loads(json.dumps({where: dict(built.identity) for where, built in components.items()}))
    before = context.journal.fact(name)
    if before is None or context.recompute:
        context.journal.set_fact(name, now)
        return
    for slot, identity in now.items():
        if before.get(slot) != identity:
            built = components[slot]
            raise UsageError(
                f"{context.folder}: {slot} {built.name!r} of {built.plugin} changed since this run began; "
                "`harness resume --recompute` runs again what the change touches and reuses the rest"
            )
