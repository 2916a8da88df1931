"""From a table such as ``{use = "lora", rank = 16}`` to a component: strict settings, parts, and its identity.

The identity is what goes into every journal key: name, source fingerprint, and all settings with their defaults.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from harness import reads
from harness.api import JSON
from harness.errors import UsageError
from harness.registry import fingerprint
from harness.registry.discover import Component, Plugins, blaming
from harness.registry.settings import check_settings

_TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
"""``module:attribute``: what a setting names so is imported when the component runs."""
_KNOWN_BY_CONTENT = frozenset({"model", "task"})
"""Kinds whose files are digested otherwise: a model's weights in its base, a task's items one by one."""


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
    reads: reads.Reader = field(default_factory=reads.Reader, compare=False)
    """The files that it has read so far."""


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
    texts = list(_texts({key: value for key, value in resolved.items() if key not in parts}))
    source = fingerprint.of_class(found.cls, also=[text.partition(":")[0] for text in texts if _TARGET.fullmatch(text)])
    reader = reads.Reader(source.modules, [part.reads for part in parts.values()])
    if kind not in _KNOWN_BY_CONTENT:
        _expect(reader, texts)
    with blaming(f"{found.plugin.found}: {kind} {found.name!r} cannot be made:"):
        instance = reads.call(
            reader, lambda: found.cls(*arguments, **{name: part.instance for name, part in parts.items()}, **extra)
        )
    identity = {
        "component": found.name,
        "source": source.digest,
        "settings": {k: v for k, v in resolved.items() if k not in parts},
        "parts": {name: part.identity for name, part in parts.items()},
    }
    return BuiltComponent(kind, found.name, instance, resolved, identity, str(found.plugin.found), reader)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(item)


def _expect(reader: reads.Reader, texts: list[str]) -> None:
    """Count the files that settings name, whoever opens them, and of folders those that only native code reads."""
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


def _as_json(settings: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(json.dumps(dataclasses.asdict(settings))))
