"""Builds a component from a table such as ``{use = "lora", rank = 16}``: checked settings, nested components, identity.

The identity is part of every journal key: name, source fingerprint, and all settings with their defaults.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from harness import reads
from harness.api import (
    API_VERSION,
    JSON,
    Component,
    Editor,
    EvaluationProtocol,
    Evaluator,
    Ledger,
    Model,
    RewardFunction,
    Task,
    Trainer,
    Updater,
    WeightSource,
)
from harness.errors import PluginError, UsageError, nearest
from harness.registry import fingerprint
from harness.registry.discover import Plugins
from harness.registry.plugin import ComponentClass, blaming
from harness.registry.settings import check_settings

_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
"""``module:attribute``: a setting of this form names something that is imported when the component runs."""
_KNOWN_BY_CONTENT = frozenset({"model", "task"})
"""Kinds whose files other digests cover: a model's base covers its weights, and a task's items have one each."""

BASES: Mapping[str, type[Component]] = {
    "task": Task,
    "model": Model,
    "editor": Editor,
    "reward": RewardFunction,
    "updater": Updater,
    "evaluator": Evaluator,
    "trainer": Trainer,
    "protocol": EvaluationProtocol,
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
    """Part of journal keys: name, source and settings, those of nested components included."""
    plugin: str
    """``plugin 'seal' (selfadapt-harness 0.1.0, harness_seal)``, for messages."""
    nested: Mapping[str, BuiltComponent[Component]] = field(default_factory=dict)
    """The components that it wraps, by the constructor's argument."""
    reads: reads.Reader = field(default_factory=reads.Reader, compare=False)
    """The files that it has read so far."""


def hand_ledger(built: BuiltComponent[Any], ledger: Ledger) -> None:
    """Give a component, and those that it wraps, the run's ledger, in which they enter what they pay."""
    for part in built.nested.values():
        hand_ledger(part, ledger)
    with blaming(f"{built.plugin}: {built.kind} {built.name!r} does not let its ledger be set:"):
        built.instance.ledger = ledger


def kind_of(base: type[Component]) -> str:
    """``editor`` for :class:`harness.api.Editor`: the kind as configurations and slots name it."""
    return _KINDS[base]


def build(
    plugins: Plugins, base: type[C], table: JSON, where: str, weights: WeightSource | None = None
) -> BuiltComponent[C]:
    """Construct the component that a configuration table describes.

    Args:
        base: the base class of its kind, from :mod:`harness.api`.
        table: ``{"use": name, **settings}``; a nested component has its own table, under its constructor argument.
        where: path of the table in the configuration, for messages.
        weights: where a model finds the weights of its states; passed to models only.

    Raises:
        UsageError: an unknown component, or an unknown or invalid setting.
        PluginError: the component violates the contract of its kind, or its constructor raised.
    """
    kind = kind_of(base)
    found, settings, tables, resolved = _resolve(plugins, kind, table, where)
    nested: dict[str, BuiltComponent[Component]] = {}
    for name, (inner, part) in tables.items():
        nested[name] = build(plugins, BASES[inner], part, f"{where}.{name}", weights)
        resolved[name] = {"use": nested[name].name, **nested[name].settings}
    arguments = [] if settings is None else [settings]
    texts = list(_texts({key: value for key, value in resolved.items() if key not in nested}))
    source = fingerprint.of_class(found.cls, also=[text.partition(":")[0] for text in texts if _TARGET.fullmatch(text)])
    reader = reads.Reader(source.modules, [part.reads for part in nested.values()])
    if kind not in _KNOWN_BY_CONTENT:
        _expect(reader, texts)
    named: dict[str, Any] = {name: part.instance for name, part in nested.items()}
    if kind == "model":
        named["weights"] = weights
    with blaming(f"{found.plugin.info}: {kind} {found.name!r} cannot be constructed:"):
        instance = reads.call(reader, lambda: found.cls(*arguments, **named))
    _check_attributes(found, base, instance)
    identity = {
        "component": found.name,
        "source": source.digest,
        "settings": {k: v for k, v in resolved.items() if k not in nested},
        "nested": {name: part.identity for name, part in nested.items()},
    }
    return BuiltComponent(kind, found.name, instance, resolved, identity, str(found.plugin.info), nested, reader)


def compared(built: BuiltComponent[Component]) -> dict[str, Any]:
    """What must be equal in two components for their rows to be comparable: name and resolved settings, those of nested
    components included, except settings that cannot change a score (:attr:`harness.api.Component.Settings`)."""
    settings_class = type(built.instance).Settings
    known = dataclasses.fields(settings_class) if settings_class else ()
    left_out = {one.name for one in known if one.metadata.get("changes_scores") is False}
    # A setting that was added later stands for what was before it; rows made without it stay comparable.
    later = [one for one in known if one.metadata.get("added_later")]
    left_out |= {one.name for one in later if built.settings.get(one.name, one.default) == one.default}
    own = {name: value for name, value in built.settings.items() if name not in left_out | built.nested.keys()}
    return {"use": built.name, **own, **{name: compared(part) for name, part in built.nested.items()}}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(item)


def _expect(reader: reads.Reader, texts: list[str]) -> None:
    """Note the files that settings name, whoever opens them, and in folders those that only native code reads."""
    for path in map(Path, named_paths(texts)):
        for file in reads.native_files(path) if path.is_dir() else [path]:
            reads.expect(reader, file)


def named_paths(settings: Any) -> list[str]:
    """Absolute paths of the files and folders that settings name."""
    out = []
    for text in _texts(settings):
        if text and len(text) < 1000 and "\n" not in text and "\0" not in text:
            path = Path(text).expanduser()
            if path.exists():
                out.append(os.path.abspath(path))
    return out


def resolve(plugins: Plugins, kind: str, table: JSON, where: str) -> dict[str, Any]:
    """The table with every setting filled in and checked, without constructing the component."""
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
        raise UsageError(f'{where}: names no component; write {where}.use = "name"')
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
            raise UsageError(f"{where}.{name}: {kind} {use!r} wraps {_a(inner)}; write its table there")
        nested[name] = (inner, part)
    return found, settings, nested, _as_json(settings) if settings is not None else {}


def component_class(plugins: Plugins, kind: str, name: str) -> ComponentClass:
    """The class of a component, checked against the contract of its kind before it is used.

    Raises:
        UsageError: no plugin provides it.
        PluginError: it cannot be imported, or violates the contract.
    """
    found = plugins.component(kind, name)
    check_class(found)
    return found


def check_class(found: ComponentClass) -> None:
    """Check a class against the contract of its kind.

    Raises:
        PluginError: it does not derive from the kind's base class, lacks one of its methods, or wraps what it may not.
    """
    base, cls = BASES[found.kind], found.cls
    what = f"{found.plugin.info}: {found.kind} {found.name!r}"
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
            f"{what}: class {cls.__name__} lacks {' and '.join(lacks)}, which every {found.kind} has{_place(cls)}"
        )
    wrong = next((inner for inner in cls.nested.values() if inner not in BASES), None)
    if wrong is not None:
        raise PluginError(f"{what}: nested has an unknown kind, {wrong!r}.{nearest(wrong, BASES)}{_place(cls)}")
    if found.kind != "model" and "model" in cls.nested.values():
        raise PluginError(
            f"{what} wraps a model, which only a model may do; it asks models through the session{_place(cls)}"
        )


def _check_attributes(found: ComponentClass, base: type[Component], instance: Component) -> None:
    """Check that an instance has the attributes of its kind, without evaluating properties."""
    known = {*vars(instance), *(name for cls in type(instance).__mro__ for name in vars(cls))}
    lacks = next((name for name in base.__annotations__ if name not in known), None)
    if lacks is not None:
        what = f"{found.plugin.info}: {found.kind} {found.name!r}"
        raise PluginError(f"{what} has no attribute {lacks!r}, which every {found.kind} has{_place(found.cls)}")


def _place(cls: Any) -> str:
    """`` (file:line)`` of a class; "" where there is no source."""
    try:
        return f" ({inspect.getsourcefile(cls)}:{inspect.getsourcelines(cls)[1]})"
    except (OSError, TypeError):
        return ""


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def _as_json(settings: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(json.dumps(dataclasses.asdict(settings))))
