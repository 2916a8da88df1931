"""``harness list``: what is installed."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli import complete
from harness.errors import UsageError, nearest
from harness.escape import line, terminal

if TYPE_CHECKING:
    from harness.api import Method
    from harness.registry.catalogue import Entry
    from harness.registry.discover import Plugins
    from harness.registry.plugin import PluginInfo

WHAT: Mapping[str, str] = {
    "methods": "what `harness run --plugin` takes",
    "tasks": "what `--task` takes",
    "models": "what `--model` takes, besides folders and hub ids",
    "protocols": "what `--protocol` takes",
    "editors": "components that write self-edits",
    "rewards": "components that rate them",
    "updaters": "components that apply them",
    "evaluators": "components that grade answers",
    "trainers": "outer loops",
    "judges": "what `--judge` takes",
    "presets": "what `--preset` takes, by method",
    "settings": "the settings of a component, or the keys of a `run`, of `also` and of `variants`",
    "plugins": "installed packages and files that provide all of this",
}
"""What can be listed."""
_RUN_TABLES = {
    "run": ("harness.runs.config", "Options"),
    "also": ("harness.runs.config", "AlsoSettings"),
    "variants": ("harness.runs.variants", "VariantSettings"),
}
"""Name that ``list settings`` takes besides components' -> the dataclass of those keys."""


def command(
    what: Annotated[
        str, typer.Argument(metavar="WHAT", help=f"One of {', '.join(WHAT)}.", autocompletion=complete.listable)
    ] = "",
    name: Annotated[
        str,
        typer.Argument(
            metavar="[NAME]", help="That one alone; for settings, a component.", autocompletion=complete.listed
        ),
    ] = "",
    verbose: Annotated[
        bool, typer.Option("--verbose", help="More of methods (cards) and plugins (hooks, components).")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything that is known as JSON.")] = False,
) -> None:
    """List what is installed, one line each.

    Examples:

      harness list methods

      harness list settings lora

      harness list presets seal --json
    """
    if not what:
        for one, about in WHAT.items():
            print(f"{one:<11} {about}")
        return
    if what not in WHAT:
        raise UsageError(f"{what!r} cannot be listed; these can: {', '.join(WHAT)}.{nearest(what, WHAT)}")
    from harness.registry.discover import Plugins

    plugins = Plugins()
    listing: Callable[[str, Plugins], list[dict[str, Any]]] = {
        "plugins": _plugins, "presets": _presets, "judges": _judges, "settings": _settings, "methods": _methods,
    }.get(what, lambda name, plugins: _components(what.removesuffix("s"), name, plugins))  # fmt: skip
    rows = listing(name, plugins)
    if as_json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return
    if verbose and what == "plugins":
        for found in plugins:
            if not name or found.name == name:
                print(terminal("\n".join(_in_full(found, plugins))))
    elif verbose and what == "methods":
        for row in rows:
            print(terminal(f"{row['name']}: {_card(plugins.method(row['name'])[0])}"))
    else:
        _print_rows(what, rows)
    if what == "plugins":
        for clash in plugins.clashes.values():
            print(line(f"refused: {clash}"))


def _print_rows(what: str, rows: list[dict[str, Any]]) -> None:
    columns = {
        "plugins": ("name", "distribution", "version", "summary"),
        "presets": ("method", "name", "summary"),
        "judges": ("name", "summary"),
        "settings": ("component", "name", "type", "default", "meaning"),
    }.get(what, ("name", "plugin", "summary"))
    # Texts are quoted where an empty one could not be seen.
    cells = [[_shown(row[key], bare=key != "default") for key in columns] for row in rows]
    widths = [max((len(row[place]) for row in cells), default=0) for place in range(len(columns) - 1)]
    for row in cells:
        head = "  ".join(cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True))
        print(line(head.rstrip()))


def _shown(value: Any, bare: bool) -> str:
    if isinstance(value, str) and bare:
        return " ".join(value.split())
    return json.dumps(value, ensure_ascii=False)


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "plugin": entry.plugin.name,
        "distribution": entry.plugin.distribution,
        "version": entry.plugin.version,
        "summary": entry.summary,
    }


def _only(name: str, rows: list[dict[str, Any]], what: str, key: str = "name") -> list[dict[str, Any]]:
    """The rows of one name, or all without one."""
    kept = [row for row in rows if not name or row[key] == name]
    if not kept and name:
        raise UsageError(f"no {what} is called {name!r}.{nearest(name, [row[key] for row in rows])}")
    return kept


def _components(kind: str, name: str, plugins: Plugins) -> list[dict[str, Any]]:
    from harness.registry.catalogue import entries

    return _only(name, [_entry(entry) for entry in entries(kind, plugins)], kind)


def _methods(name: str, plugins: Plugins) -> list[dict[str, Any]]:
    from harness.errors import PluginError

    rows = _components("method", name, plugins)
    for row in rows:
        try:
            method, _ = plugins.method(row["name"])
        except PluginError:
            continue
        row |= {
            "paper": method.paper, "sees": method.sees, "open_book": method.open_book,
            "transductive": method.transductive, "outside_teacher": method.outside_teacher,
            "needs": sorted(method.needs), "protocol": method.protocol, "presets": list(method.presets),
            "beside": list(method.beside), "components": {s: dict(table) for s, table in method.components.items()},
            "roles": dict(method.roles),
        }  # fmt: skip
    return rows


def _plugins(name: str, plugins: Plugins) -> list[dict[str, Any]]:
    from harness.registry.catalogue import plugin_entries

    rows = [{**_entry(entry), "module": entry.plugin.module} for entry in plugin_entries(plugins)]
    return _only(name, rows, "plugin")


def _presets(name: str, plugins: Plugins) -> list[dict[str, Any]]:
    from harness.registry.catalogue import presets_of

    rows = []
    for method, preset, tables in presets_of(plugins):
        sets = ", ".join(key for key in tables if key != "task")
        task = tables.get("task", {})
        use = task if isinstance(task, str) else task.get("use", "")
        summary = f"task {use}; sets {sets}" if use else f"sets {sets}"
        rows.append({"method": method, "name": preset, "summary": summary, "tables": dict(tables)})
    return _only(name, rows, "method with presets", "method")


def _judges(name: str, plugins: Plugins) -> list[dict[str, Any]]:
    from harness.judges.base import JUDGES

    return _only(name, [{"name": judge, "summary": about} for judge, about in JUDGES.items()], "judge")


def _settings(name: str, plugins: Plugins) -> list[dict[str, Any]]:
    from harness.registry.catalogue import plain, settings_in, settings_of

    if not name:
        raise UsageError("name a component, such as `harness list settings lora`; `run` lists the keys of a run")
    found: list[tuple[str, Any, Mapping[str, str]]]
    if name in _RUN_TABLES:
        module, settings = _RUN_TABLES[name]
        found = [(name, getattr(importlib.import_module(module), settings), {})]
    else:
        found = [(f"{entry.kind} {name}", cls.Settings, cls.nested) for entry, cls in settings_of(name, plugins)]
    rows = []
    for component, cls, nested in found:
        rows += [{"component": component, **asdict(s), "meaning": plain(s.meaning)} for s in settings_in(cls)]
        rows += [
            {"component": component, "name": at, "type": kind, "default": None, "meaning": f"The {kind} it wraps."}
            for at, kind in nested.items()
        ]
    return rows


def _in_full(found: PluginInfo, plugins: Plugins) -> list[str]:
    """One plugin: where it comes from, its hooks, what it provides, and the cards of its methods."""
    from harness.errors import PluginError
    from harness.registry.plugin import KINDS

    head = f"{found.name}  {found.distribution} {found.version}  {found.module}"
    try:
        plugin = plugins.load(found.name)
        lines = [
            f"{head}  API {plugin.api}  {_license(found.distribution)}",
            f"  hooks       {', '.join(plugin.hooks())}",
        ]
        for kind in KINDS:
            if plugin.provides(kind):
                lines.append(f"  {kind + 's':<11} {', '.join(plugin.provides(kind))}")
        for name in plugin.provides("method"):
            lines += [f"  {name}: {_card(plugins.component_of(plugin, 'method', name).cls)}"]
    except PluginError as error:
        return [head, f"  broken: {error}"]
    return lines


def _card(method: Method) -> str:
    """What a method is, and what it may do, as its author states it."""
    statements = [
        method.paper or "a control",
        f"sees {method.sees.replace('+', ' and ')}",
        "open book" if method.open_book else "closed book",
        "transductive" if method.transductive else "",
        "an outside teacher" if method.outside_teacher else "no outside teacher",
        f"needs a model that can {' and '.join(sorted(method.needs))}" if method.needs else "",
    ]
    return f"{method.summary}\n      {' · '.join(filter(None, statements))}"


def _license(distribution: str) -> str:
    """The licence that the distribution's metadata states."""
    from importlib import metadata

    try:
        fields = metadata.metadata(distribution)
    except metadata.PackageNotFoundError:
        return "no licence stated"
    stated = [*(fields.get_all("License-Expression") or ()), *(fields.get_all("License") or ())]
    stated += [line.rpartition(" :: ")[2] for line in fields.get_all("Classifier") or () if "License ::" in line]
    return stated[0].split("\n")[0] if stated else "no licence stated"
