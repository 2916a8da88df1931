"""One method under one root seed: its outer loop, the choice of a checkpoint, and its test scores."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.api import HarnessError, Round, State
from harness.errors import PluginError, UsageError
from harness.events import RoundFinished
from harness.registry.build import BuiltComponent, build
from harness.registry.discover import Plugins, describe
from harness.runs import deploy
from harness.runs.collect import Outcome, RoundRecord, outcome
from harness.runs.config import Arm, Config
from harness.runs.edits_file import read_edits
from harness.session.context import RunContext
from harness.session.roles import Roles
from harness.session.service import SessionService

_log = logging.getLogger("harness")


@dataclass
class OpenRun:
    """What is opened for a run and shared by its rows: plugins, task, context, models."""

    plugins: Plugins
    config: Config
    context: RunContext
    task: BuiltComponent
    _opened: dict[str, Any] = field(default_factory=dict)

    def open_model(self, table: Mapping[str, Any]) -> Any:
        """The model of a table, opened once; the session then finds it by the digest that states name."""
        key = json.dumps(table, sort_keys=True)
        if key not in self._opened:
            # Batch limits are found from what is free once; a resumed run takes the same, and so gets the same bits.
            fact = f"memory/{key}"
            journal = self.context.journal
            limits = journal.fact(fact) or (journal.earlier.fact(fact) if journal.earlier else None)
            asked = {**table, "memory": limits} if limits and not table.get("memory") else table
            built = build(self.plugins, "model", asked, "model", weights=self.context.weights)
            model = built.instance
            self._opened[key] = model
            self.context.models.setdefault(model.base, model)
            self.context.sources.setdefault(model.base, str(built.identity["source"]))
            if journal.fact(fact) is None and hasattr(model, "memory"):
                journal.set_fact(fact, limits or model.memory)
        return self._opened[key]

    def model_names(self) -> dict[str, str]:
        """Base digest -> the model as its table names it, for messages."""
        tables = {key: json.loads(key) for key in self._opened}
        return {self._opened[key].base: str(table.get("path") or table["use"]) for key, table in tables.items()}


def check_roles(opened: OpenRun, arm: Arm) -> None:
    """Refuse, before anything is spent, a method whose editing model cannot do what the method needs."""
    for role, who in arm.roles.items():
        if isinstance(who, str):
            continue
        lacks = sorted(arm.method.needs - opened.open_model(who).can) if role == "teacher" else []
        if lacks:
            raise UsageError(
                f"method {arm.method.name!r} needs a {role} that can {' and '.join(lacks)}, and "
                f"{who.get('path') or who['use']!r} cannot; take a method without an outer loop, or another model"
            )


def run_arm(opened: OpenRun, arm: Arm, seed: int) -> Outcome:
    """Train the policy, choose a round, and measure it on the test split.

    Raises:
        UsageError: a component's source changed since the run's results were booked.
        PluginError: a component broke.
    """
    options, context = opened.config.options, opened.context
    slots = {
        name: build(opened.plugins, str(table["kind"]), {k: v for k, v in table.items() if k != "kind"}, name)
        for name, table in arm.slots.items()
    }
    _check_sources(context, arm, slots, opened.task)
    states = {r: State(opened.open_model(who).base) for r, who in arm.roles.items() if not isinstance(who, str)}
    follows = {role: who.removeprefix("@") for role, who in arm.roles.items() if isinstance(who, str)}
    settings = opened.config.as_json()
    session = SessionService(context, arm.method, opened.task, slots, states, follows, settings, seed)
    has_editor = any(slot.kind == "editor" for slot in slots.values())

    def validate() -> float | None:
        """Macro score of one edit a validation context, as deployed on single passages; None where none is wanted."""
        if not (options.validation and has_editor):
            return None
        episodes = session.episodes("validation", options.validation)
        measured = deploy.measure(session, episodes, label="validation", samples=1, grouping="single", has_editor=True)
        return measured.macro()

    rounds: list[RoundRecord] = []
    if slots["trainer"].name != "none":
        rounds.append(RoundRecord(-1, dict(Roles(states, follows)), validate()))
    for done in _rounds(slots["trainer"], session):
        score = validate()
        rounds.append(RoundRecord(done.index, dict(done.roles), score, dict(done.metrics)))
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
    measured = deploy.measure(
        session,
        session.episodes("test"),
        label="test",
        samples=options.samples,
        grouping=arm.grouping,
        has_editor=has_editor,
        recorded=recorded,
        # A preset may update on all edits together otherwise than in the outer loop's trials.
        updater="cpt" if "cpt" in slots else "updater",
    )
    meta_s = sum(float(getattr(slot.instance, "meta_s", 0.0)) for slot in slots.values())
    return outcome(context, arm, seed, session, measured, rounds, chosen, meta_s)


def choose(validation: Sequence[float | None], rule: str) -> int | None:
    """Which round is tested: the best on validation, the first of equals; the last where that is asked or unknown."""
    if not validation:
        return None
    if rule == "last" or any(score is None for score in validation):
        return len(validation) - 1
    best = max(score for score in validation if score is not None)
    return list(validation).index(best)


def observe(plugins: Plugins, hook: str, event: Any) -> None:
    """Call an observer hook of every imported plugin; what one raises is one warning."""
    for plugin in plugins.observers():
        try:
            getattr(plugin.manager.hook, hook)(event=event)
        except Exception as error:
            _log.warning("%s: observer %s raised %s; the run goes on", plugin.found, hook, describe(error))


def _rounds(trainer: BuiltComponent, session: SessionService) -> Iterator[Round]:
    """A trainer's rounds; what its own code raises becomes one line that names it."""
    try:
        yield from trainer.instance.run(session.sealed)
    except HarnessError:
        raise
    except Exception as error:
        raise PluginError(f"{trainer.plugin}: trainer {trainer.name!r} raised {describe(error)}") from error


def _round_line(arm: Arm, seed: int, record: RoundRecord) -> str:
    said = [
        f"{key.replace('_', ' ')} {value:.3g}" if isinstance(value, float) else f"{key.replace('_', ' ')} {value}"
        for key, value in record.metrics.items()
        if isinstance(value, (int, float, str))
    ]
    if record.validation is not None:
        said.append(f"validation {100 * record.validation:.1f}")
    return f"{arm.method.name}, seed {seed}, round {record.index + 1}: {', '.join(said)}"


def _check_sources(context: RunContext, arm: Arm, slots: Mapping[str, BuiltComponent], task: BuiltComponent) -> None:
    """Hold the components against those that the journal's results were made with."""
    name = f"components/{arm.method.name}"
    now = json.loads(json.dumps({slot: dict(built.identity) for slot, built in {**slots, "task": task}.items()}))
    before = context.journal.fact(name)
    if before is None or context.recompute:
        context.journal.set_fact(name, now)
        return
    for slot, identity in now.items():
        if before.get(slot) != identity:
            built = task if slot == "task" else slots[slot]
            raise UsageError(
                f"{context.folder}: {slot} {built.name!r} of {built.plugin} changed since this run began; "
                "`harness resume --recompute` runs again what the change touches and reuses the rest"
            )
