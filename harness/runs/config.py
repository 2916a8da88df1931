"""A run's configuration: layers of tables are resolved into one, with an arm for every method of the run.

Later layers win: the method < the model's profile < the preset < the configuration file < ``--set`` < flags. A section
such as ``[updater]`` is a slot; ``use`` names its component and everything else is a setting of that component. What is
set for a slot holds for every method of the run whose slot uses the same component, so that rows differ only in what
is being compared.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.api import HEADLINE, JSON, Method, Split
from harness.errors import UsageError, nearest
from harness.reading import within_limits
from harness.registry.build import component_class
from harness.registry.build import resolve as resolve_table
from harness.registry.discover import Plugins
from harness.registry.plugin import KINDS, Plugin
from harness.registry.settings import check_settings
from harness.runs.layers import Arm, Layers, untrained_starts
from harness.runs.named import default_model, leader, model_table, with_preset
from harness.runs.options import JUDGING, TABLE_NAME, AlsoSettings, Options
from harness.runs.tables import slot_table
from harness.runs.variants import read_variants


@dataclass(frozen=True)
class Also:
    """A measure beside the headline: one table of the result."""

    name: str
    task: JSON | None
    """None for the items of the headline."""
    evaluator: JSON
    split: Split
    limit: int


@dataclass(frozen=True)
class Config:
    """A resolved configuration."""

    options: Options
    task: JSON
    model: JSON
    arms: tuple[Arm, ...]
    also: tuple[Also, ...]
    layers: Sequence[str]
    """Where the configuration came from, in order of rising precedence; shown by ``--dry-run``."""

    def as_json(self) -> dict[str, Any]:
        """The resolved configuration, as written to the run's folder and compared on resume."""
        options = json.loads(json.dumps(dataclasses.asdict(self.options)))
        del options["variants"]  # they are among the arms
        return {
            **options,
            "task": dict(self.task),
            "model": dict(self.model),
            "also": {one.name: dataclasses.asdict(one) for one in self.also},
            "arms": {
                arm.method.name: {
                    "plugin": arm.plugin,
                    "protocol": dict(arm.protocol),
                    "roles": dict(arm.roles),
                    **({} if arm.samples == self.options.samples else {"samples": arm.samples}),
                    **arm.slots,
                }
                for arm in self.arms
            },
        }


def resolve(given: JSON, plugins: Plugins, layers: Sequence[str] = ()) -> Config:
    """One configuration from what the user gave (file, ``--set`` and flags, already merged).

    Raises:
        UsageError: an unknown key, method, preset, component or setting, with the nearest name.
    """
    given = dict(within_limits(dict(given), "configuration"))
    judging = {key: given.pop(key) for key in JUDGING if key in given}
    main, plugin = plugins.method(str(given.get("method") or leader(given, plugins)))
    plugins.at_hand.append(plugin.info.name)
    over = _layers(given, main, plugin, plugins)
    options = _options(over)
    task = over.shared("task", under={"use": "squad"})
    variants = {one.method.name: one for one in read_variants(options.variants, plugins, main.name)}
    beside = [*(main.beside if options.beside is None else options.beside)]
    if options.all:
        beside += with_preset(plugins, over.preset_name, str(slot_table(over.preset.get("task")).get("use", "")))
    others = [name for name in dict.fromkeys(beside) if name != main.name and name not in variants]
    methods = [(main, plugin), *map(plugins.method, others), *((one.method, one.plugin) for one in variants.values())]
    arms = [over.arm(method, its, options, judging, variants.get(method.name)) for method, its in methods]
    arms += untrained_starts([one for one in arms if one.method.transductive and one.slots["trainer"]["use"] != "none"])
    also = tuple(_also(name, table, task, arms[0].slots, plugins) for name, table in options.also.items())
    return Config(options, task, over.model, tuple(arms), also, layers)


def _layers(given: dict[str, Any], main: Method, plugin: Plugin, plugins: Plugins) -> Layers:
    """The model, the preset and the task, as far as the user or else the method or its plugin names them."""
    models, tasks = plugin.provides("model"), plugin.provides("task")
    if len(models) == 1 and not plugin.provides("method"):  # else it may be for a role
        given.setdefault("model", next(iter(models)))
    named: JSON = main.presets.get(str(given.get("preset", "")), {})
    asked: Any = given.get("model") or named.get("model") or default_model(main, plugins)
    if isinstance(asked, Mapping) and "use" not in asked:  # a setting of the default model
        asked = {"use": default_model(main, plugins), **asked}
    model = model_table(plugins, asked)
    profile = component_class(plugins, "model", model["use"]).cls.profile
    resolve_table(plugins, "model", model, "model")
    preset_name = str(given.get("preset", "")) or (model["use"] if model["use"] in main.presets else "")
    if preset_name and preset_name not in main.presets:
        raise UsageError(f"method {main.name!r} has no preset {preset_name!r}.{nearest(preset_name, main.presets)}")
    preset: JSON = main.presets.get(preset_name, {})
    if len(tasks) == 1 and "task" not in preset:
        given.setdefault("task", next(iter(tasks)))
    task = slot_table(given.get("task"))
    if "data" in task and "use" not in task:  # never data of the task that a model brings with it
        given["task"] = {**task, "use": slot_table(preset.get("task")).get("use") or "squad"}
    return Layers(plugins, main, model, profile, preset_name, preset, given)


def _options(over: Layers) -> Options:
    """The keys that are not slots, of all layers.

    Raises:
        UsageError: a key is neither an option nor a slot.
    """
    options = {f.name for f in dataclasses.fields(Options)}
    added = {key for key, value in over.preset.items() if isinstance(value, Mapping) and "use" in value}
    slots = {"task", "model", *over.main.components, *KINDS, *added}
    for key, value in over.given.items():
        if key not in options and key not in slots and not (isinstance(value, Mapping) and "use" in value):
            raise UsageError(
                f"{key}: no such key of a run's configuration.{nearest(key, options | slots | {*JUDGING})}"
            )
    found: dict[str, Any] = {}
    for layer in (over.profile, over.preset, over.given):
        found |= {key: value for key, value in layer.items() if key in options}
    found |= {"method": over.main.name, "preset": over.preset_name}
    options_read: Options = check_settings(Options, found, "run", "a run")
    return options_read


def _also(name: str, given: Any, task: JSON, main_slots: Mapping[str, JSON], plugins: Plugins) -> Also:
    """One further measure, with its tables filled in.

    Raises:
        UsageError: its name is the headline's or not a valid table name, or one of its keys is wrong.
    """
    where = f"also.{name}"
    if name == HEADLINE or not TABLE_NAME.fullmatch(name):
        raise UsageError(f"{where}: a table's name is letters, digits, '-', '_' and '.', and not {HEADLINE!r}")
    if not isinstance(given, str | Mapping):
        raise UsageError(f'{where}: write a table such as {{task = "squad"}}, not {given!r:.60}')
    settings = check_settings(AlsoSettings, {"task": given} if isinstance(given, str) else given, where, "also")
    evaluator = settings.evaluator
    if evaluator is None:
        other = slot_table(settings.task).get("use")
        own = component_class(plugins, "task", str(other)).cls.evaluator if other else ""
        evaluator = own or "@evaluator"
    if isinstance(evaluator, str) and evaluator.startswith("@"):
        slot = evaluator[1:]
        if main_slots.get(slot, {}).get("kind") != "evaluator":
            known = [name for name, table in main_slots.items() if table["kind"] == "evaluator"]
            raise UsageError(f"{where}.evaluator: there is no evaluator slot {slot!r}.{nearest(slot, known)}")
        evaluator = main_slots[slot]
    table = {key: value for key, value in slot_table(evaluator).items() if key != "kind"}
    if settings.task is None and settings.split == "test" and not settings.limit:
        return Also(name, None, table, "test", 0)
    return Also(name, slot_table(settings.task) or dict(task), table, settings.split, settings.limit)
