"""A resolved configuration with every setting of every component filled in, as a table and as commented TOML."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import tomli_w

from harness.api import JSON
from harness.registry.build import resolve
from harness.registry.discover import Plugins
from harness.runs.config import Config


def full_settings(config: Config, plugins: Plugins) -> dict[str, Any]:
    """:meth:`harness.runs.config.Config.as_json` with the defaults of all components filled in.

    Raises:
        UsageError: a component or setting does not exist.
    """
    out = config.as_json()
    out["task"] = _full(plugins, "task", config.task, "task")
    out["model"] = _full(plugins, "model", config.model, "model")
    for arm in out["arms"].values():
        for slot, table in arm.items():
            if slot == "roles":
                arm[slot] = {
                    role: who if isinstance(who, str) else _full(plugins, "model", who, f"roles.{role}")
                    for role, who in table.items()
                }
            elif slot != "plugin":
                arm[slot] = _full(plugins, table.get("kind") or slot, table, slot)
    for name, one in out["also"].items():
        for kind in ("task", "evaluator"):
            if one[kind] is not None:
                one[kind] = _full(plugins, kind, one[kind], f"also.{name}.{kind}")
    return out


def _full(plugins: Plugins, kind: str, table: JSON, where: str) -> dict[str, Any]:
    own = {key: value for key, value in table.items() if key != "kind"}
    return {**({"kind": kind} if "kind" in table else {}), **resolve(plugins, kind, own, where)}


def commented_toml(full: JSON, chosen: JSON) -> str:
    """The settings as TOML: one that ``chosen`` does not hold is marked as a default, and one that is None as not set.

    A table of a method that is the same as the main method's is only referred to.

    Args:
        full: what :func:`full_settings` returns.
        chosen: the same tables without defaults.
    """
    top = {key: value for key, value in full.items() if key != "arms"}
    lines = list(_table("", top, chosen))
    [(main, first), *others] = full["arms"].items()
    lines += _table(f"arms.{_key(main)}", first, chosen["arms"][main])
    for name, arm in others:
        shared = [slot for slot, table in arm.items() if isinstance(table, Mapping) and table == first.get(slot)]
        own = {slot: table for slot, table in arm.items() if slot not in shared}
        lines += _table(f"arms.{_key(name)}", own, chosen["arms"][name])
        if shared:
            lines.append(f"# as in arms.{main}: {', '.join(shared)}")
    return "\n".join(lines)


def _table(path: str, table: JSON, chosen: Any) -> Iterator[str]:
    if path:
        yield f"\n[{path}]"
    inner = {key: value for key, value in table.items() if isinstance(value, Mapping) and value}
    for key, value in table.items():
        if value is None:
            yield f"# {_key(key)} is not set"
        elif key not in inner:
            default = isinstance(chosen, Mapping) and "use" in chosen and key not in chosen
            yield f"{_key(key)} = {_value(value)}{'  # default' if default else ''}"
    for key, value in inner.items():
        below = chosen.get(key, {"use": ""}) if isinstance(chosen, Mapping) else {}
        yield from _table(f"{path}.{_key(key)}".lstrip("."), value, below)


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        inside = ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items() if item is not None)
        return f"{{{inside}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(item) for item in value if item is not None)}]"
    return tomli_w.dumps({"v": value})[len("v = ") :].strip()


def _key(key: str) -> str:
    return tomli_w.dumps({key: 0}).split(" = ")[0]
