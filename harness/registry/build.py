"""From a table such as ``{use = "lora", rank = 16}`` to a component: strict settings, parts, and its identity.

The identity is what goes into every journal key: name, source fingerprint, and all settings with their defaults.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from harness.api import JSON
from harness.errors import UsageError, nearest
from harness.registry import fingerprint
from harness.registry.discover import Component, Plugins, blaming


@dataclass(frozen=True)
class BuiltComponent:
    """A component ready to use."""

    kind: str
    name: str
    instance: Any
    settings: JSON
    """All settings, defaults included, as JSON."""
    identity: JSON
    """Part of journal keys: what the component is, its parts included."""
    plugin: str
    """``plugin 'seal' (selfadapt-harness 0.1.0, harness_seal)``, for messages."""


def build(plugins: Plugins, kind: str, table: JSON, where: str, **extra: Any) -> BuiltComponent:
    """Make the component that a configuration table describes.

    Args:
        table: ``{"use": name, **settings}``; the table of a part is nested under the part's name.
        where: path of the table in the configuration, for messages.
        extra: what a kind's constructor takes besides settings and parts (models: the weight store).

    Raises:
        UsageError: unknown component, unknown or wrong setting.
        PluginError: the component's constructor broke.
    """
    found, settings, parts, resolved = _resolve(plugins, kind, table, where)
    arguments = [] if settings is None else [settings]
    with blaming(f"{found.plugin.found}: {kind} {found.name!r} cannot be made:"):
        instance = found.cls(*arguments, **{name: part.instance for name, part in parts.items()}, **extra)
    identity = {
        "component": found.name,
        "source": fingerprint.of_class(found.cls),
        "settings": {k: v for k, v in resolved.items() if k not in parts},
        "parts": {name: part.identity for name, part in parts.items()},
    }
    return BuiltComponent(kind, found.name, instance, resolved, identity, str(found.plugin.found))


def resolve(plugins: Plugins, kind: str, table: JSON, where: str) -> dict[str, Any]:
    """The table with every setting filled in, checked, without making the component."""
    found, _, _, resolved = _resolve(plugins, kind, table, where, make_parts=False)
    return {"use": found.name, **resolved}


def _resolve(
    plugins: Plugins, kind: str, table: JSON, where: str, make_parts: bool = True
) -> tuple[Component, Any, dict[str, BuiltComponent], dict[str, Any]]:
    use = table.get("use")
    if not isinstance(use, str):
        raise UsageError(f'{where}: says no component; write {where}.use = "name"')
    found = plugins.component(kind, use)
    part_kinds: Mapping[str, str] = getattr(found.cls, "parts", {})
    given = {key: value for key, value in table.items() if key not in {"use", "kind"} and key not in part_kinds}
    settings = check_settings(getattr(found.cls, "Settings", None), given, where, f"{kind} {use!r}", part_kinds)
    resolved = _as_json(settings) if settings is not None else {}
    parts: dict[str, BuiltComponent] = {}
    for name, part_kind in part_kinds.items():
        part_table = table.get(name)
        if isinstance(part_table, str):
            part_table = {"use": part_table}
        if not isinstance(part_table, Mapping):
            raise UsageError(
                f"{where}.{name}: {kind} {use!r} is made around another {part_kind}; write its table there"
            )
        if make_parts:
            parts[name] = build(plugins, part_kind, part_table, f"{where}.{name}")
            resolved[name] = {"use": parts[name].name, **parts[name].settings}
        else:
            resolved[name] = resolve(plugins, part_kind, part_table, f"{where}.{name}")
    return found, settings, parts, resolved


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
