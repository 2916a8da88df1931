"""What a configuration's names stand for: a model, a role, and the methods where none are named."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from harness.api import JSON, Method
from harness.errors import UsageError
from harness.reading import user_path
from harness.registry.build import component_class
from harness.registry.build import resolve as resolve_table
from harness.registry.discover import Plugins
from harness.runs.tables import slot_table


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


def default_model(method: Method, plugins: Plugins) -> str:
    """The default model, or the first local one that the method has settings for where it has none for the default."""
    default, installed = plugins.default("model"), plugins.names("model")
    if default in method.presets:
        return default
    having = (name for name in method.presets if name in installed)
    return next((name for name in having if component_class(plugins, "model", name).cls.local), default)


def leader(given: JSON, plugins: Plugins) -> str:
    """The main method where none is named: the default; for all methods of a task, the first whose preset names it.

    One whose preset brings a model goes before those that would leave it to the default.
    """
    task = slot_table(given.get("task")).get("use", "")
    if given.get("all") and task:
        named = {
            name: plugins.method(name)[0].presets.get(str(given.get("preset", "")), {})
            for name in plugins.names("method")
        }
        having = [name for name, preset in named.items() if slot_table(preset.get("task")).get("use") == task]
        if having:
            return min(having, key=lambda name: "model" not in named[name])
    return plugins.default("method")


def with_preset(plugins: Plugins, preset: str, task: str) -> list[str]:
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
        if preset in method.presets and slot_table(method.presets[preset].get("task")).get("use", "") == task
    ]
    return sorted({name for method in having for name in (method.name, *method.beside)})


def role_table(plugins: Plugins, who: Any, model: JSON, max_cost: float) -> Any:
    """The table of the model that holds a role, or the role that it follows."""
    if isinstance(who, str) and who.startswith("@"):
        return who
    table = dict(model) if who == "model" else model_table(plugins, who)
    cls = component_class(plugins, "model", table["use"]).cls
    settings = cls.Settings
    for name, kind in cls.nested.items():
        if kind == "model" and name in table:
            table[name] = role_table(plugins, table[name], model, max_cost)
    if max_cost and settings is not None and "max_cost" in {f.name for f in dataclasses.fields(settings)}:
        table.setdefault("max_cost", max_cost)
    resolve_table(plugins, "model", table, "model")  # refused here, before the configuration is written down
    return table
