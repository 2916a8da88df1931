"""From a table such as ``{use = "lora", rank = 16}`` to a component: strict settings, nested ones, and its identity.

The identity is what goes into every journal key: name, source fingerprint, and all settings with their defaults.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from harness.api import (
    API_VERSION,
    JSON,
    Component,
    Editor,
    Evaluator,
    Model,
    RewardFunction,
    Task,
    Trainer,
    Updater,
    WeightSource,
)
from harness.errors import PluginError, UsageError, nearest
from harness.registry import fingerprint
from harness.registry.discover import ComponentClass, Plugins, blaming

BASES: Mapping[str, type[Component]] = {
    "task": Task,
    "model": Model,
    "editor": Editor,
    "reward": RewardFunction,
    "updater": Updater,
    "evaluator": Evaluator,
    "trainer": Trainer,
}
"""Kind of component -> the base class that its components derive from."""
_KINDS = {base: kind for kind, base in BASES.items()}

C = TypeVar("C", bound=Component)
C_co = TypeVar("C_co", bound=Component, covariant=True)


@dataclass(frozen=True)
class BuiltComponent(Generic[C_co]):
    """A component ready to use; ``BuiltComponent[Editor]`` is one whose instance is an editor."""

    kind: str
    name: str
    instance: C_co
    settings: JSON
    """All settings, defaults included, as JSON."""
    identity: JSON
    """Part of journal keys: what the component is, its nested ones included."""
    plugin: str
    """``plugin 'seal' (selfadapt-harness 0.1.0, harness_seal)``, for messages."""
    nested: Mapping[str, BuiltComponent[Component]] = dataclasses.field(default_factory=dict)
    """What it is made around, by the constructor's argument."""


def kind_of(base: type[Component]) -> str:
    """``editor`` for :class:`harness.api.Editor`: the kind as configurations and slots name it."""
    return _KINDS[base]


def build(
    plugins: Plugins, base: type[C], table: JSON, where: str, weights: WeightSource | None = None
) -> BuiltComponent[C]:
    """Make the component that a configuration table describes.

    Args:
        base: of which kind, as the base class in :mod:`harness.api`.
        table: ``{"use": name, **settings}``; the table of a nested component stands under its name.
        where: path of the table in the configuration, for messages.
        weights: where a model finds the weights of its states; models alone take one.

    Raises:
        UsageError: unknown component, unknown or wrong setting.
        PluginError: the component does not keep to its kind's contract, or its constructor broke.
    """
    kind = kind_of(base)
    found, settings, tables, resolved = _resolve(plugins, kind, table, where)
    nested: dict[str, BuiltComponent[Component]] = {}
    for name, (inner, part) in tables.items():
        nested[name] = build(plugins, BASES[inner], part, f"{where}.{name}", weights)
        resolved[name] = {"use": nested[name].name, **nested[name].settings}
    arguments = [] if settings is None else [settings]
    named: dict[str, Any] = {name: part.instance for name, part in nested.items()}
    if kind == "model":
        named["weights"] = weights
    with blaming(f"{found.plugin.found}: {kind} {found.name!r} cannot be made:"):
        instance = found.cls(*arguments, **named)
    _check_attributes(found, base, instance)
    identity = {
        "component": found.name,
        "source": fingerprint.of_class(found.cls),
        "settings": {k: v for k, v in resolved.items() if k not in nested},
        "nested": {name: part.identity for name, part in nested.items()},
    }
    return BuiltComponent(kind, found.name, instance, resolved, identity, str(found.plugin.found), nested)


def resolve(plugins: Plugins, kind: str, table: JSON, where: str) -> dict[str, Any]:
    """The table with every setting filled in, checked, without making the component."""
    found, _, tables, resolved = _resolve(plugins, kind, table, where)
    for name, (inner, part) in tables.items():
        resolved[name] = resolve(plugins, inner, part, f"{where}.{name}")
    return {"use": found.name, **resolved}


def _resolve(
    plugins: Plugins, kind: str, table: JSON, where: str
) -> tuple[ComponentClass, Any, dict[str, tuple[str, JSON]], dict[str, Any]]:
    """The class, its settings (None where it has none), its nested (kind, table), and its own settings as JSON."""
    use = table.get("use")
    if not isinstance(use, str):
        raise UsageError(f'{where}: says no component; write {where}.use = "name"')
    found = component_class(plugins, kind, use)
    kinds: Mapping[str, str] = found.cls.nested
    given = {key: value for key, value in table.items() if key not in {"use", "kind"} and key not in kinds}
    settings = check_settings(found.cls.Settings, given, where, f"{kind} {use!r}", kinds)
    nested: dict[str, tuple[str, JSON]] = {}
    for name, inner in kinds.items():
        part = table.get(name)
        if isinstance(part, str):
            part = {"use": part}
        if not isinstance(part, Mapping):
            raise UsageError(f"{where}.{name}: {kind} {use!r} is made around another {inner}; write its table there")
        nested[name] = (inner, part)
    return found, settings, nested, _as_json(settings) if settings is not None else {}


def component_class(plugins: Plugins, kind: str, name: str) -> ComponentClass:
    """The class of a component, held to the contract of its kind before anything is made of it.

    Raises:
        UsageError: no plugin provides it.
        PluginError: it cannot be imported, or does not keep to the contract.
    """
    found = plugins.component(kind, name)
    check_class(found)
    return found


def check_class(found: ComponentClass) -> None:
    """Hold a class to the contract of its kind.

    Raises:
        PluginError: it does not derive from the kind's base class, lacks one of its methods, or nests what it may not.
    """
    base, cls = BASES[found.kind], found.cls
    what = f"{found.plugin.found}: {found.kind} {found.name!r}"
    if not (isinstance(cls, type) and issubclass(cls, base)):
        name = cls.__name__ if isinstance(cls, type) else type(cls).__name__
        mend = f"derive it: `from harness.api import {base.__name__}` and `class {name}({base.__name__})`"
        if found.plugin.api < API_VERSION:
            what += (
                f" is written for API {found.plugin.api}, and this harness has API {API_VERSION} (docs/changelog.md);"
            )
            raise PluginError(f"{what} {mend}{_place(cls)}")
        raise PluginError(f"{what}: {name} does not derive from {base.__name__}; {mend}{_place(cls)}")
    lacks = sorted(cls.__abstractmethods__)
    if lacks:
        raise PluginError(
            f"{what}: class {cls.__name__} lacks the method {' and '.join(lacks)} of its kind{_place(cls)}"
        )
    wrong = next((inner for inner in cls.nested.values() if inner not in BASES), None)
    if wrong is not None:
        raise PluginError(f"{what}: nested names no kind {wrong!r}.{nearest(wrong, BASES)}{_place(cls)}")
    if found.kind != "model" and "model" in cls.nested.values():
        raise PluginError(f"{what} is made around a model; it asks models through the session{_place(cls)}")


def _check_attributes(found: ComponentClass, base: type[Component], instance: Component) -> None:
    """Hold an instance to the attributes that its kind must have; looked up without computing any."""
    known = {*vars(instance), *(name for cls in type(instance).__mro__ for name in vars(cls))}
    lacks = next((name for name in base.__annotations__ if name not in known), None)
    if lacks is not None:
        what = f"{found.plugin.found}: {found.kind} {found.name!r}"
        raise PluginError(f"{what} has no attribute {lacks!r}, which every {found.kind} has{_place(found.cls)}")


def _place(cls: Any) -> str:
    """`` (file:line)`` of a class; "" where there is no source."""
    try:
        return f" ({inspect.getsourcefile(cls)}:{inspect.getsourcelines(cls)[1]})"
    except (OSError, TypeError):
        return ""


def check_settings(
    settings_class: Any, given: JSON, where: str, what: str, also: Mapping[str, str] | None = None
) -> Any:
    """A frozen settings dataclass made from a table, strictly; None where there is no such class.

    Raises:
        UsageError: a key that does not exist (with the nearest one), or a value of the wrong type.
    """
    known = [f.name for f in dataclasses.fields(settings_class)] if settings_class else []
    for key in given:
        if key not in known:
            raise UsageError(f"{where}.{key}: no such setting of {what}.{nearest(key, [*known, *(also or {})])}")
    if settings_class is None:
        return None
    from pydantic import TypeAdapter, ValidationError

    try:
        # JSON mode: TOML arrays become tuples, integers become floats, and nothing else is coerced.
        return TypeAdapter(settings_class).validate_json(json.dumps(dict(given)), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in (where, *first["loc"]))
        raise UsageError(f"{path}: {first['msg']}, got {first['input']!r:.60}") from error


def _as_json(settings: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(json.dumps(dataclasses.asdict(settings))))
