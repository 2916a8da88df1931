"""A run's configuration: layers of tables are resolved into one, with an arm for every method of the run.

Later layers win: the method < the model's profile < the preset < the configuration file < ``--set`` < flags. A section
such as ``[updater]`` is a slot; ``use`` names its component and everything else is a setting of that component. What is
set for a slot holds for every method of the run whose slot uses the same component, so that rows differ only in what
is being compared.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import Field

from harness.api import HEADLINE, JSON, Method, Split
from harness.errors import UsageError, nearest
from harness.reading import read_toml, user_path, within_limits
from harness.registry.build import component_class
from harness.registry.build import resolve as resolve_table
from harness.registry.discover import KINDS, Plugins
from harness.registry.settings import check_settings
from harness.runs.variants import read_variants

TABLE_NAME = re.compile(r"[A-Za-z0-9_.-]+")

Count = Annotated[int, Field(ge=0)]

JUDGING = ("judge", "max_judge_calls", "max_judge_cost", "judge_batch")
"""Settings of the judge, given once for every row of the run whose evaluator has one."""


@dataclass(frozen=True)
class Options:
    """The keys of a run's configuration that are not slots."""

    method: str = ""
    """Name of the main method; "" takes the default of the installed plugins."""
    preset: str = ""
    """"" takes the method's preset that is named like the model, if there is one."""
    seeds: Annotated[int, Field(ge=1)] = 1
    """Number of root seeds that every method is run under. A row of one seed is shown but not ranked."""
    seed: int = 0
    """The first of the root seeds."""
    limit: Count = 0
    """Test contexts; 0 takes all."""
    samples: Annotated[int, Field(ge=1)] = 1
    """Self-edits per test context; their scores are averaged (single), or all are trained on (cpt)."""
    also: Mapping[str, Any] = field(default_factory=dict)
    """Table of the result -> what is measured beside the headline, as :class:`AlsoSettings` says."""
    checkpoint: Literal["validation", "last"] = "validation"
    """Which round's policy is tested: the best on the validation split (the start counts as a round), or the last."""
    validation: Count = 0
    """Validation contexts that are measured after every round; with 0 nothing is, and the last round is tested."""
    beside: tuple[str, ...] | None = None
    """Methods to run beside this one; by default those that the method itself names."""
    all: bool = False
    """Run every other method that has the preset as well, with the methods that each of them names."""
    max_cost: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """US dollars that may be spent on each remote model that sets no limit of its own; 0 is no limit."""
    out: str = "runs"
    """Folder in which the run's folder is made."""
    leaderboard: str = "leaderboards"
    """Folder into which the result file is copied; "" copies it nowhere."""
    max_hours: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Hours after which the run stops and can be resumed; 0 is no limit."""
    edits: str = ""
    """Folder of a run whose test edits are used instead of writing new ones: those of the same method and seed, or else
    of the first seed that the method has there."""
    reuse: str = ""
    """``auto`` reuses what earlier runs under ``out`` have computed; a run's folder, what that run has; "" nothing."""
    variants: Mapping[str, Any] = field(default_factory=dict)
    """Name -> a further row: a method under that name with settings of its own (:mod:`harness.runs.variants`)."""
    observers: tuple[str, ...] = ()
    """Plugins to import for their observer hooks, besides those that the run names."""
    roles: Mapping[str, Any] = field(default_factory=dict)
    """Role -> a model (name, folder or table); replaces the method's own."""


@dataclass(frozen=True)
class AlsoSettings:
    """One table of the section ``also``: another evaluator for the run's own items, or other items."""

    task: str | Mapping[str, Any] | None = None
    """None for the run's task."""
    evaluator: str | Mapping[str, Any] | None = None
    """A component, or ``"@slot"``: the main method's evaluator of that slot. None for its slot ``evaluator``."""
    split: Literal["train", "validation", "test"] = "test"
    """Whose items are asked."""
    limit: Count = 0
    """Contexts; 0 takes all."""


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


def read_file(path: Path) -> dict[str, Any]:
    """A TOML configuration.

    Raises:
        UsageError: the file is absent, or is not TOML (with the line).
    """
    path = user_path(path)
    if not path.exists():
        here = [str(p) for p in path.parent.glob("*.toml")] if path.parent.is_dir() else []
        raise UsageError(f"no configuration file at {path}.{nearest(str(path), here)}")
    return read_toml(path)


def parse_set(assignments: Sequence[str]) -> dict[str, Any]:
    """``updater.learning_rate=5e-4`` as nested tables; the right side is TOML, or else a string."""
    out: dict[str, Any] = {}
    for assignment in assignments:
        path, sign, text = assignment.partition("=")
        if not sign or not path.strip():
            raise UsageError(f"--set {assignment!r}: write KEY=VALUE, such as updater.learning_rate=5e-4")
        value = assigned(text, f"--set {assignment!r:.80}")
        at = out
        *parents, last = path.strip().split(".")
        for parent in parents:
            at = at.setdefault(parent, {})
            if not isinstance(at, dict):
                raise UsageError(f"--set {assignment!r}: {parent} already has a value that is not a table")
        at[last] = value
    return out


def assigned(text: str, where: str) -> Any:
    """The TOML value that a text spells, or else the text itself."""
    try:
        tables = tomllib.loads(f"v = {text}")
    except tomllib.TOMLDecodeError:
        return text.strip()
    except (RecursionError, ValueError) as why:
        raise UsageError(f"{where}: not a value that a setting can have: {why}") from None
    return within_limits(tables["v"], where) if len(tables) == 1 else text.strip()


def model_table(plugins: Plugins, spec: Any) -> dict[str, Any]:
    """``lab``, ``./folder``, ``Qwen/Qwen2.5-7B`` or ``openai:gpt-4.1`` as a model's table.

    In a table, ``use`` may be such a name too: ``{use = "./folder", dtype = "bfloat16"}``.
    """
    if isinstance(spec, Mapping):
        if not isinstance(spec.get("use"), str):
            raise UsageError('a model is a name, a folder, or a table with use = "name"')
        return {**spec, "use": spec["use"]} if "path" in spec else {**spec, **model_table(plugins, spec["use"])}
    if not isinstance(spec, str):
        raise UsageError(f"a model is a name, a folder or a table, not {spec!r:.60}")
    there = user_path(spec).exists()
    name, sign, rest = spec.partition(":")
    if sign and not there:
        return {"use": name, "path": rest}
    if "/" not in spec and not there:
        plugins.component("model", spec)
        return {"use": spec}
    return {"use": "hf", "path": str(spec)}


def resolve(given: JSON, plugins: Plugins, layers: Sequence[str] = ()) -> Config:
    """One configuration from what the user gave (file, ``--set`` and flags, already merged).

    Raises:
        UsageError: an unknown key, method, preset, component or setting, with the nearest name.
    """
    given = dict(within_limits(dict(given), "configuration"))
    judging = {key: given.pop(key) for key in JUDGING if key in given}
    main, main_plugin = plugins.method(str(given.get("method") or _leader(given, plugins)))
    plugins.at_hand.append(main_plugin.info.name)
    models, tasks = main_plugin.provides("model"), main_plugin.provides("task")
    if len(models) == 1 and not main_plugin.provides("method"):  # else it may be for a role
        given.setdefault("model", next(iter(models)))
    named: JSON = main.presets.get(str(given.get("preset", "")), {})
    asked_model: Any = given.get("model") or named.get("model") or _default_model(main, plugins)
    if isinstance(asked_model, Mapping) and "use" not in asked_model:  # a setting of the default model
        asked_model = {"use": _default_model(main, plugins), **asked_model}
    model = model_table(plugins, asked_model)
    model_class = component_class(plugins, "model", model["use"]).cls
    resolve_table(plugins, "model", model, "model")
    profile: JSON = model_class.profile
    preset_name = str(given.get("preset", "")) or (model["use"] if model["use"] in main.presets else "")
    if preset_name and preset_name not in main.presets:
        raise UsageError(f"method {main.name!r} has no preset {preset_name!r}.{nearest(preset_name, main.presets)}")
    preset: JSON = main.presets.get(preset_name, {})
    if len(tasks) == 1 and "task" not in preset:
        given.setdefault("task", next(iter(tasks)))

    option_names = {f.name for f in dataclasses.fields(Options)}
    added = {key for key, value in preset.items() if isinstance(value, Mapping) and "use" in value}
    arm_slots = {"task", "model", *main.components, *KINDS, *added}
    for key, value in given.items():
        if key not in option_names and key not in arm_slots and not (isinstance(value, Mapping) and "use" in value):
            known = option_names | arm_slots | {*JUDGING}
            raise UsageError(f"{key}: no such key of a run's configuration.{nearest(key, known)}")
    base = {key: value for layer in (profile, preset) for key, value in layer.items() if key in option_names}
    base |= {key: value for key, value in given.items() if key in option_names}
    base |= {"method": main.name, "preset": preset_name}
    options = check_settings(Options, base, "run", "a run")
    preset_task = _slot_table(preset.get("task")).get("use", "")
    asked_task = _slot_table(given.get("task"))
    if "data" in asked_task and "use" not in asked_task:  # never data of the task that a model brings with it
        asked_task["use"] = preset_task or "squad"
    task: JSON = {"use": "squad"}
    for table in (_slot_table(profile.get("task")), _slot_table(preset.get("task")), asked_task):
        task = _overlay(task, table, strict=True)

    asked_protocol: JSON = {}
    for layer in (profile, preset, given):
        asked_protocol = _overlay(asked_protocol, _slot_table(layer.get("protocol")), strict=True)

    beside = options.beside if options.beside is not None else main.beside
    names = [*beside, *(_with_preset(plugins, preset_name, str(preset_task)) if options.all else ())]
    variants = {one.method.name: one for one in read_variants(options.variants, plugins, main.name)}
    beside_it = [name for name in dict.fromkeys(names) if name != main.name and name not in variants]
    methods = [(main, main_plugin), *map(plugins.method, beside_it)]
    methods += [(one.method, one.plugin) for one in variants.values()]
    explicit = [preset, given]
    main_slots = _slots(main, main, profile, explicit, _slots_to_stand_in_for(main, plugins, profile, model["use"]))
    arms = []
    for method, plugin in methods:
        variant = variants.get(method.name)
        last = variant.tables if variant else {}
        own = {} if method is main else method.presets.get(preset_name) or method.presets.get(model["use"], {})
        slots = main_slots if method is main else _slots(method, main, profile, explicit, main_slots, own, last)
        wanted = {**method.roles, **own.get("roles", {})}
        if method.components.get("editor") == main.components.get("editor"):
            wanted |= {role: who for role, who in options.roles.items() if role in method.roles or method is main}
        wanted |= variant.settings.roles if variant else {}
        for role in wanted:
            if role not in method.roles:
                raise UsageError(f"roles.{role}: method {method.name!r} has no such role.{nearest(role, method.roles)}")
        roles = {role: _role(plugins, who, model, options.max_cost) for role, who in wanted.items()}
        # A row with another updater (icl's memory) keeps its own protocol; to one without an updater, any will do.
        same_update = slots.get("updater", {}).get("use") in {None, main_slots.get("updater", {}).get("use")}
        if judging and "evaluator" in slots:
            judged = _with_judge(plugins, slots["evaluator"], judging)
            if judged is None and method is main:
                graded_by = slots["evaluator"]["use"]
                raise UsageError(f"judge: evaluator {graded_by!r} of method {method.name!r} grades without a judge")
            slots = {**slots, "evaluator": judged or slots["evaluator"]}
        samples = (variant and variant.settings.samples) or options.samples
        protocol = _protocol(method, main, asked_protocol, same_update)
        arms.append(Arm(method, plugin.info.name, slots, roles, protocol, samples))
    arms += _starts([one for one in arms if one.method.transductive and one.slots["trainer"]["use"] != "none"])
    also = tuple(_also(name, table, task, arms[0].slots, plugins) for name, table in options.also.items())
    return Config(options, task, model, tuple(arms), also, layers)


def _starts(arms: Sequence[Arm]) -> list[Arm]:
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


def _protocol(method: Method, main: Method, asked: JSON, same_update: bool) -> dict[str, Any]:
    """A method's protocol: its own, under what the configuration asks for.

    A setting without a name is one of the main method's protocol, and reaches the methods that are measured by it.
    """
    own = _slot_table(method.protocol)
    use = asked.get("use")
    if use is None:
        use = _slot_table(main.protocol)["use"]
        return _overlay(own, asked, strict=True) if own["use"] == use else own
    return _overlay(own, asked, strict=True) if same_update or own["use"] == use else own


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
        other = _slot_table(settings.task).get("use")
        own = component_class(plugins, "task", str(other)).cls.evaluator if other else ""
        evaluator = own or "@evaluator"
    if isinstance(evaluator, str) and evaluator.startswith("@"):
        slot = evaluator[1:]
        if main_slots.get(slot, {}).get("kind") != "evaluator":
            known = [name for name, table in main_slots.items() if table["kind"] == "evaluator"]
            raise UsageError(f"{where}.evaluator: there is no evaluator slot {slot!r}.{nearest(slot, known)}")
        evaluator = main_slots[slot]
    table = {key: value for key, value in _slot_table(evaluator).items() if key != "kind"}
    if settings.task is None and settings.split == "test" and not settings.limit:
        return Also(name, None, table, "test", 0)
    return Also(name, _slot_table(settings.task) or dict(task), table, settings.split, settings.limit)


def _with_judge(plugins: Plugins, table: JSON, judging: JSON) -> dict[str, Any] | None:
    """An evaluator's table with the judge set, in itself or in a nested evaluator; None where none of them has one."""
    component = component_class(plugins, "evaluator", str(table["use"])).cls
    settings = component.Settings
    if settings is not None and "judge" in {f.name for f in dataclasses.fields(settings)}:
        return {**table, **judging}
    for name, kind in component.nested.items():
        inner = _slot_table(table.get(name))
        if kind == "evaluator" and "use" in inner and (judged := _with_judge(plugins, inner, judging)) is not None:
            return {**table, name: judged}
    return None


def _slots_to_stand_in_for(main: Method, plugins: Plugins, profile: JSON, model: str) -> Mapping[str, JSON]:
    """What ``"@editor"`` refers to in a control that is run by itself: the slots of the default method."""
    if not any(str(v).startswith("@") for table in main.components.values() for v in table.values()):
        return {}
    default, _ = plugins.method(plugins.default("method"))
    return _slots(default, default, profile, [default.presets.get(model, {})], {})


def _default_model(method: Method, plugins: Plugins) -> str:
    """The default model, or the first local one that the method has settings for where it has none for the default."""
    default, installed = plugins.default("model"), plugins.names("model")
    if default in method.presets:
        return default
    having = (name for name in method.presets if name in installed)
    return next((name for name in having if component_class(plugins, "model", name).cls.local), default)


def _leader(given: JSON, plugins: Plugins) -> str:
    """The main method where none is named: the default; for all methods of a task, the first whose preset names it.

    One whose preset brings a model goes before those that would leave it to the default.
    """
    task = _slot_table(given.get("task")).get("use", "")
    if given.get("all") and task:
        named = {
            name: plugins.method(name)[0].presets.get(str(given.get("preset", "")), {})
            for name in plugins.names("method")
        }
        having = [name for name, preset in named.items() if _slot_table(preset.get("task")).get("use") == task]
        if having:
            return min(having, key=lambda name: "model" not in named[name])
    return plugins.default("method")


def _with_preset(plugins: Plugins, preset: str, task: str) -> list[str]:
    """Names of the methods that have a preset, and of those that each names beside it, in alphabetical order.

    Args:
        task: the task that the main method's preset names, "" for none; the others' must name the same.

    Raises:
        UsageError: no preset is named to say which methods belong together.
    """
    if not preset:
        raise UsageError("all: name the preset that the methods share, such as --preset quick")
    methods = [plugins.method(name)[0] for name in plugins.names("method")]
    having = [
        method
        for method in methods
        if preset in method.presets and _slot_table(method.presets[preset].get("task")).get("use", "") == task
    ]
    return sorted({name for method in having for name in (method.name, *method.beside)})


def _role(plugins: Plugins, who: Any, model: JSON, max_cost: float) -> Any:
    """The table of the model that holds a role, or the role that it follows."""
    if isinstance(who, str) and who.startswith("@"):
        return who
    table = dict(model) if who == "model" else model_table(plugins, who)
    cls = component_class(plugins, "model", table["use"]).cls
    settings = cls.Settings
    for name, kind in cls.nested.items():
        if kind == "model" and name in table:
            table[name] = _role(plugins, table[name], model, max_cost)
    if max_cost and settings is not None and "max_cost" in {f.name for f in dataclasses.fields(settings)}:
        table.setdefault("max_cost", max_cost)
    resolve_table(plugins, "model", table, "model")  # refused here, before the configuration is written down
    return table


def _slots(
    method: Method,
    main: Method,
    profile: JSON,
    explicit: Sequence[JSON],
    main_slots: Mapping[str, JSON],
    own: JSON | None = None,
    last: JSON = MappingProxyType({}),
) -> dict[str, JSON]:
    """The tables of a method's slots.

    Args:
        own: the preset of a method beside the main one.
        last: slot tables on top of everything else, of a variant.
    """
    out: dict[str, JSON] = {}
    added = {k for layer in (*explicit, last) for k, v in layer.items() if isinstance(v, Mapping) and "use" in v}
    names = [*method.components, *sorted(added - {*method.components, *main.components, "task", "model", "protocol"})]
    for name in last:
        if name not in names:
            raise UsageError(f"variants.{method.name}.{name}: this run has no such slot.{nearest(name, names)}")
    for name in names:
        table: JSON = _slot_table(method.components.get(name))
        original = main.components.get(name, {}).get("use")
        if name in profile:
            table = _overlay(table, _slot_table(profile[name]), strict=False)
        if own and name in own:
            table = _overlay(table, _slot_table(own[name]), strict=True)
        if name not in method.components or method.components[name].get("use") == original or method is main:
            for layer in explicit:
                if name in layer:
                    table = _overlay(table, _slot_table(layer[name]), strict=True)
        if name in last:
            table = _overlay(table, _slot_table(last[name]), strict=True)
        kind = str(table.get("kind") or (name if name in KINDS else ""))
        if kind not in KINDS:
            raise UsageError(f"{name}: write {name}.kind = one of {', '.join(KINDS)}")
        filled = _fill(table, main_slots)
        out[name] = {"kind": kind, **filled}
    return out


def _slot_table(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if isinstance(value, str):
        return {"use": value}
    if not isinstance(value, Mapping):
        raise UsageError(f"a slot is a table or the name of a component, not {value!r:.60}")
    return copy.deepcopy(dict(value))


def _overlay(under: JSON, over: JSON, strict: bool) -> dict[str, Any]:
    """``over`` on top of ``under``. Naming another component, ``over`` replaces ``under`` (strict) or is ignored."""
    use = over.get("use", under.get("use"))
    if use != under.get("use") and "use" in under:
        return {**({"kind": under["kind"]} if "kind" in under else {}), **over} if strict else dict(under)
    return {**under, **{key: _nested(under.get(key), value) for key, value in over.items()}}


def _nested(under: Any, over: Any) -> Any:
    """A nested table that names no component goes on top of the one that is there."""
    if not isinstance(over, Mapping) or "use" in over:
        return over
    if isinstance(under, str):
        return {"use": under, **over}
    return _overlay(under, over, strict=True) if isinstance(under, Mapping) and "use" in under else over


def _fill(table: JSON, main_slots: JSON) -> dict[str, Any]:
    """The table with ``"@editor"`` replaced by the main method's table of that slot."""
    out: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, str) and value.startswith("@") and value[1:] in main_slots:
            value = {k: v for k, v in main_slots[value[1:]].items() if k != "kind"}
        out[key] = value
    return out
