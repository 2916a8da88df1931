"""The layers over a run's methods, and the arm that every method becomes under them.

Later layers win: the method < the model's profile < the preset < what the user gave < a variant.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

from harness.api import JSON, Method
from harness.errors import UsageError, nearest
from harness.registry.build import component_class
from harness.registry.discover import Plugins
from harness.registry.plugin import KINDS, Plugin
from harness.runs.named import role_table
from harness.runs.options import Options
from harness.runs.tables import fill, overlay, slot_table
from harness.runs.variants import Variant

NOTHING: JSON = MappingProxyType({})


@dataclass(frozen=True)
class Arm:
    """One method of the run with its resolved tables: a row of the result for every seed."""

    method: Method
    plugin: str
    slots: Mapping[str, JSON]
    """Slot -> table, which always has the key ``kind``."""
    roles: Mapping[str, Any]
    """Role -> model table, or ``"@other"``."""
    protocol: JSON
    samples: int = 1
    """Self-edits per test context."""


@dataclass(frozen=True)
class Layers:
    """The main method of a run, and what lies over it and over the methods beside it."""

    plugins: Plugins
    main: Method
    model: JSON
    profile: JSON
    """The model's."""
    preset_name: str
    preset: JSON
    given: JSON

    def shared(self, name: str, under: JSON = NOTHING) -> dict[str, Any]:
        """The table of a slot that is one for all methods."""
        table = dict(under)
        for layer in (self.profile, self.preset, self.given):
            table = overlay(table, slot_table(layer.get(name)), strict=True)
        return table

    @cached_property
    def main_slots(self) -> Mapping[str, JSON]:
        """Slot -> table of the main method."""
        return self._slots(self.main, self._stand_in())

    def arm(self, method: Method, plugin: Plugin, options: Options, judging: JSON, variant: Variant | None) -> Arm:
        """One method with its tables.

        Args:
            judging: settings of the judge of every row whose evaluator has one.
        """
        own: JSON = NOTHING
        if method is not self.main:
            own = method.presets.get(self.preset_name) or method.presets.get(self.model["use"], NOTHING)
        last = variant.tables if variant else NOTHING
        slots = self.main_slots if method is self.main else self._slots(method, self.main_slots, own, last)
        roles = self._roles(method, own, options, variant)
        # A row with another updater (icl's memory) keeps its own protocol; to one without an updater, any will do.
        same_update = slots.get("updater", {}).get("use") in {None, self.main_slots.get("updater", {}).get("use")}
        if judging and "evaluator" in slots:
            judged = _with_judge(self.plugins, slots["evaluator"], judging)
            if judged is None and method is self.main:
                graded_by = slots["evaluator"]["use"]
                raise UsageError(f"judge: evaluator {graded_by!r} of method {method.name!r} grades without a judge")
            slots = {**slots, "evaluator": judged or slots["evaluator"]}
        samples = (variant and variant.settings.samples) or options.samples
        return Arm(method, plugin.info.name, slots, roles, self._protocol(method, own, same_update), samples)

    def _roles(self, method: Method, own: JSON, options: Options, variant: Variant | None) -> dict[str, Any]:
        """Role -> the table of the model that holds it, or the role that it follows."""
        wanted = {**method.roles, **own.get("roles", {})}
        if method.components.get("editor") == self.main.components.get("editor"):
            on_main = method is self.main
            wanted |= {role: who for role, who in options.roles.items() if role in method.roles or on_main}
        wanted |= variant.settings.roles if variant else {}
        for role in wanted:
            if role not in method.roles:
                raise UsageError(f"roles.{role}: method {method.name!r} has no such role.{nearest(role, method.roles)}")
        return {role: role_table(self.plugins, who, self.model, options.max_cost) for role, who in wanted.items()}

    def _protocol(self, method: Method, preset: JSON, same_update: bool) -> dict[str, Any]:
        """A method's protocol: its own, with its own preset, under what the configuration asks for.

        A setting without a name is one of the main method's protocol, and reaches the methods that are measured by it.
        """
        asked = self.shared("protocol")
        own = overlay(slot_table(method.protocol), slot_table(preset.get("protocol")), strict=True)
        use = asked.get("use")
        if use is None:
            use = slot_table(self.main.protocol)["use"]
            return overlay(own, asked, strict=True) if own["use"] == use else own
        return overlay(own, asked, strict=True) if same_update or own["use"] == use else own

    def _stand_in(self) -> Mapping[str, JSON]:
        """What ``"@editor"`` refers to in a control that is run by itself: the slots of the default method."""
        if not any(str(v).startswith("@") for table in self.main.components.values() for v in table.values()):
            return {}
        default, _ = self.plugins.method(self.plugins.default("method"))
        preset = default.presets.get(self.model["use"], NOTHING)
        over = Layers(self.plugins, default, self.model, self.profile, "", preset, NOTHING)
        return over._slots(default, NOTHING)

    def _slots(
        self, method: Method, main_slots: Mapping[str, JSON], own: JSON = NOTHING, last: JSON = NOTHING
    ) -> dict[str, JSON]:
        """The tables of a method's slots.

        Args:
            main_slots: what ``"@editor"`` refers to.
            own: the preset of a method beside the main one.
            last: slot tables on top of everything else, of a variant.
        """
        out: dict[str, JSON] = {}
        explicit = (self.preset, self.given)
        added = {k for layer in (*explicit, last) for k, v in layer.items() if isinstance(v, Mapping) and "use" in v}
        known = {*method.components, *self.main.components, "task", "model", "protocol"}
        names = [*method.components, *sorted(added - known)]
        for name in last:
            if name not in names:
                raise UsageError(f"variants.{method.name}.{name}: this run has no such slot.{nearest(name, names)}")
        for name in names:
            table: JSON = slot_table(method.components.get(name))
            use = table.get("use")
            if name in self.profile:
                table = overlay(table, slot_table(self.profile[name]), strict=False)
            if name in own:
                table = overlay(table, slot_table(own[name]), strict=True)
            same = use == self.main.components.get(name, NOTHING).get("use")
            if name not in method.components or same or method is self.main:
                for layer in explicit:
                    if name in layer:
                        table = overlay(table, slot_table(layer[name]), strict=True)
            if name in last:
                table = overlay(table, slot_table(last[name]), strict=True)
            kind = str(table.get("kind") or (name if name in KINDS else ""))
            if kind not in KINDS:
                raise UsageError(f"{name}: write {name}.kind = one of {', '.join(KINDS)}")
            out[name] = {"kind": kind, **fill(table, main_slots)}
        return out


def untrained_starts(arms: Sequence[Arm]) -> list[Arm]:
    """The untrained start of every arm, once where several arms start alike: a method and its controls."""
    found: dict[str, Arm] = {}
    for arm in map(_untrained, arms):
        same = (arm.slots, arm.roles, arm.protocol, arm.samples, arm.method.sees)
        found.setdefault(json.dumps(same, sort_keys=True, default=dict), arm)
    return list(found.values())


def _untrained(arm: Arm) -> Arm:
    """The untrained start of a method that learns from the test items, as a row from which its gain is measured.

    It counts as transductive too, for rows of other conditions are not compared with transductive ones.
    """
    method = dataclasses.replace(
        arm.method,
        name=f"{arm.method.name}-untrained",
        summary=f"the start of {arm.method.name}, without its outer loop",
    )
    slots = {**arm.slots, "trainer": {"kind": "trainer", "use": "none"}}
    return dataclasses.replace(arm, method=method, slots=slots)


def _with_judge(plugins: Plugins, table: JSON, judging: JSON) -> dict[str, Any] | None:
    """An evaluator's table with the judge set, in itself or in a nested evaluator; None where none of them has one."""
    component = component_class(plugins, "evaluator", str(table["use"])).cls
    settings = component.Settings
    if settings is not None and "judge" in {f.name for f in dataclasses.fields(settings)}:
        return {**table, **judging}
    for name, kind in component.nested.items():
        inner = slot_table(table.get(name))
        if kind == "evaluator" and "use" in inner and (judged := _with_judge(plugins, inner, judging)) is not None:
            return {**table, name: judged}
    return None
