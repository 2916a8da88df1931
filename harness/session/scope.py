"""One method under one root seed: its components, roles and clock, and the run that it is part of."""

from __future__ import annotations

import time
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from harness import reads
from harness.api import JSON, Component, Method, Model, State, Task
from harness.books.folder import goes_on
from harness.books.records import derive_seed
from harness.errors import PluginError, RunError, UsageError, nearest
from harness.registry.build import BuiltComponent, C, kind_of
from harness.session.clock import Clock
from harness.session.context import RunContext
from harness.session.facts import Facts
from harness.session.history import History
from harness.session.packs import PackSizes
from harness.session.roles import Roles
from harness.session.watch import Watch
from harness.text import repaired

if TYPE_CHECKING:
    from harness.api import Session


_Value = TypeVar("_Value")


class TimeIsUp(RunError):
    """``--max-hours`` has passed; everything finished is booked."""


class Scope:
    """What the services of one session share.

    Args:
        slots: the method's components; slot ``trainer`` is not called through the session.
        states: role -> start state, for the roles that do not follow another.
        follows: role -> the role it follows.
    """

    def __init__(
        self,
        context: RunContext,
        method: Method,
        task: BuiltComponent[Task],
        slots: Mapping[str, BuiltComponent[Component]],
        states: Mapping[str, State],
        follows: Mapping[str, str],
        settings: JSON,
        root_seed: int,
    ) -> None:
        self.context = context
        self.journal = context.journal
        self.clock = Clock()
        context.turns.scope = self
        self.name = f"{method.name}/{root_seed}"
        self.calls_name = self.name
        """Name under which the order of its calls is logged; a session beside another one has an order of its own."""
        self.facts = Facts(self.journal, self.name)
        self.history = History()
        self.watch: Watch | None = Watch(context.episodes, self.facts)
        """None for a session beside another one, whose items are not the row's own."""
        self.replaced = 0
        """Unwritable characters replaced in what components handed in; those in answers are in the items' costs."""
        self.method = method
        self.built_task = task
        self.task: Task = task.instance
        self.slots = slots
        self.roles: MutableMapping[str, State] = Roles(states, follows)
        self.settings = settings
        self.root_seed = root_seed
        self.sealed: Session
        """What components are handed; the service sets it, for it is made from the service."""
        self.models = {role: [state.base, context.sources.get(state.base, "")] for role, state in states.items()}
        """Role -> the start model and its backend's source: part of what a trial depends on."""
        self.reachable = {name: slot.identity for name, slot in slots.items() if slot.kind != "trainer"}
        """Slot -> identity of what an editor or a reward may call through the session, and therefore depends on."""

    @property
    def stage(self) -> Literal["outer", "deploy"]:
        """``outer`` while the trainer runs, ``deploy`` while its policy is measured; costs are kept apart by it."""
        return self.facts.stage

    def writable(self, value: _Value) -> _Value:
        """What a component handed in, with unwritable characters of its texts replaced, and counted."""
        value, count = repaired(value)
        self.replaced += count
        return value

    def seed(self, *name: object) -> int:
        return derive_seed(self.root_seed, *name)

    def slot(self, name: str, base: type[C]) -> BuiltComponent[C]:
        """The component in a slot. Raises :class:`UsageError` where the method has none of that kind there."""
        slot, kind = self.slots.get(name), kind_of(base)
        if slot is None or slot.kind != kind:
            of_kind = [n for n, s in self.slots.items() if s.kind == kind]
            raise UsageError(f"method {self.method.name!r} has no {kind} slot {name!r}.{nearest(name, of_kind)}")
        return cast("BuiltComponent[C]", slot)

    def backend(self, base: str) -> Model:
        """The model whose frozen weights have that digest.

        Raises:
            PluginError: the run has no such model.
        """
        if base not in self.context.models:
            raise PluginError(f"method {self.method.name!r} asks a model that the run does not have: {base!r}")
        return self.context.models[base]

    def pack_sizes(self, base: str) -> PackSizes:
        """How many jobs of that model share a pack: as recorded with the run, else as the model says."""
        known = self.context.packs.get(base)
        if known is None:
            model = self.backend(base)
            known = self.context.packs[base] = PackSizes(model.chunk, model.wave)
        return known

    def reader(self, base: str) -> reads.Reader:
        """The files that the model of that digest has read."""
        return self.context.readers.setdefault(base, reads.Reader())

    def files(self, *slots: BuiltComponent[Any]) -> dict[str, str]:
        """Files that the task and these components have read, by content: an item depends on them besides its key."""
        out: dict[str, str] = {}
        for slot in (self.built_task, *slots):
            out |= slot.reads.files()
        return out

    def check_time(self) -> None:
        """Raise :class:`TimeIsUp` if ``--max-hours`` has passed. Called where everything finished is booked."""
        if self.context.deadline and time.monotonic() > self.context.deadline:
            raise TimeIsUp(
                "the run's --max-hours have passed; everything finished is booked, and "
                f"`{goes_on(self.context.folder)}` goes on"
            )
