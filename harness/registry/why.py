"""Why a plugin is not found or cannot be used: the first fault, looked for from its metadata to its components."""

from __future__ import annotations

import difflib
import importlib.util
import sys
from importlib import metadata

from harness.errors import PluginError, UsageError, nearest
from harness.registry.discover import GROUP, Plugins
from harness.registry.plugin import KINDS

_HOW = {"method": "--plugin ", "task": "--task ", "model": "--model ", "protocol": "--protocol "}


def why(name: str, plugins: Plugins) -> list[str]:
    """Lines about a usable plugin, or about the plugins that provide a component of that name.

    Raises:
        PluginError: it is installed but cannot be used; the message says where the fault is.
        UsageError: it is not installed, or is installed in such a way that it cannot be found.
    """
    if name in plugins.clashes:
        raise PluginError(plugins.clashes[name])
    if name in {found.name for found in plugins}:
        return _of_plugin(name, plugins)
    provided = [(kind, plugins.names(kind)[name]) for kind in KINDS if name in plugins.names(kind)]
    if provided:
        return [
            f"{name!r} is not a plugin but {'an' if kind[0] in 'aeiou' else 'a'} {kind} of {found}; "
            + f"use it with {_HOW.get(kind, f'--set {kind}.use=')}{name}"
            for kind, found in provided
        ]
    raise UsageError(_not_found(name, plugins))


def _of_plugin(name: str, plugins: Plugins) -> list[str]:
    plugin = plugins.load(name)
    lines = [f"{plugin.info} is found and can be used"]
    for kind in KINDS:
        for component in plugin.provides(kind):
            plugins.component_of(plugin, kind, component)
        if plugin.provides(kind):
            lines.append(f"{kind}: {', '.join(plugin.provides(kind))}")
    return lines


def _not_found(name: str, plugins: Plugins) -> str:
    where = f"this environment ({sys.prefix})"
    for entry in (entry for distribution in metadata.distributions() for entry in distribution.entry_points):
        near = "harness" in entry.group or difflib.SequenceMatcher(None, entry.group, GROUP).ratio() > 0.8
        if entry.name == name and entry.group not in {GROUP, "harness.logs", "harness.tables"} and near:
            owner = entry.dist.name if entry.dist else "a distribution"
            return (
                f"{owner} registers {name!r} in the wrong group, {entry.group!r}: write "
                f'[project.entry-points."{GROUP}"] in its pyproject.toml and install it again'
            )
    register = f'[project.entry-points."{GROUP}"] to its pyproject.toml and install it again'
    try:
        distribution = metadata.distribution(name)
    except (metadata.PackageNotFoundError, ValueError):
        distribution = None
    if distribution is not None:
        others = [entry.name for entry in distribution.entry_points if entry.group == GROUP]
        what = f"the distribution {distribution.name} {distribution.version} is installed"
        if others:
            return f"{what}, and its plugins are called {', '.join(map(repr, others))}"
        return f"{what}, but registers no plugin: add {register}"
    module = name.replace("-", "_")
    if module.isidentifier() and importlib.util.find_spec(module) is not None:
        return f"a module {module!r} can be imported, but no installed distribution registers it: add {register}"
    hint = nearest(name, [found.name for found in plugins])
    return (
        f"no plugin named {name!r} is installed in {where}; install it there, or give its file as ./{module}.py.{hint}"
    )
