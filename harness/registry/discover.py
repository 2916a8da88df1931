"""Finds plugins, loads the ones that are named, and checks them. The only module that uses pluggy's manager.

Discovery reads entry-point metadata of the group ``harness.plugins`` and imports nothing. To resolve a component's
name, as few plugins as possible are imported, in this order: the plugin at hand (the one whose method runs), the plugin
of that name, the plugin named like its first part (``lab-facts`` is looked for in ``lab``), the core, and only then the
others. Each plugin gets a pluggy manager of its own, so that one broken plugin breaks nothing else.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import pluggy

from harness import hookspecs, reads
from harness.api import API_VERSION, Command, Method
from harness.errors import PluginError, UsageError, nearest
from harness.registry import fingerprint
from harness.registry.plugin import (
    KINDS,
    ComponentClass,
    Plugin,
    PluginInfo,
    blaming,
    fault_of_hooks,
    import_file,
    import_target,
)

GROUP = "harness.plugins"


class Plugins:
    """All installed plugins and those given as files. A plugin is imported only when something of it is needed."""

    def __init__(self, files: tuple[Path, ...] = ()) -> None:
        reads.watch(_packages())
        fingerprint.forget()
        self._found, self.clashes = _discover()
        self._loaded: dict[str, Plugin] = {}
        self._broken: set[str] = set()
        self._named: dict[str, Plugin] = {}
        self.at_hand: list[str] = []
        """Names of the plugins whose components take precedence: the file on the command line, the running method's."""
        for file in files:
            self.add_file(file)

    def __iter__(self) -> Iterator[PluginInfo]:
        return iter(sorted(self._found.values(), key=lambda found: found.name))

    def add_file(self, path: Path) -> str:
        """Add a single file as a plugin, named after the file; returns that name.

        Raises:
            UsageError: there is no such file, or it is a package's.
            PluginError: another plugin has that name.
        """
        if not path.is_file():
            raise UsageError(f"there is no plugin file at {path}")
        if path.name == "__init__.py":
            raise UsageError(f"{path} belongs to a package: install that (pip install -e), and run its plugin by name")
        name = path.stem.replace("_", "-")
        if name in self._found:
            raise PluginError(f"the file {path} and {self._found[name]} have the same name; rename the file")
        self._found[name] = PluginInfo(name, path.stem, "a file", "-", path.resolve())
        self.at_hand.insert(0, name)
        return name

    def load(self, name: str) -> Plugin:
        """Import one plugin and check it.

        Raises:
            UsageError: no such plugin is installed.
            PluginError: it cannot be imported, is written for a later contract, or has a hook that does not exist.
        """
        if name in self._loaded:
            return self._loaded[name]
        if name not in self._found:
            raise UsageError(f"no plugin named {name!r} is installed.{nearest(name, self._found)}")
        if name in self.clashes:
            raise PluginError(self.clashes[name])
        found = self._found[name]
        with blaming(f"{found} cannot be imported:"):
            module = import_file(found.path) if found.path else importlib.import_module(found.module)
        wants = getattr(module, "HARNESS_API", API_VERSION)
        if not isinstance(wants, int) or wants > API_VERSION:
            raise PluginError(
                f"{found} is written for API {wants} ({module.__file__}), and this harness has API {API_VERSION}; "
                "upgrade selfadapt-harness, or install an older version of the plugin"
            )
        manager = pluggy.PluginManager("harness")
        manager.add_hookspecs(hookspecs)
        fault = fault_of_hooks(module)
        if fault:
            raise PluginError(f"{found}: {fault}")
        try:
            manager.register(module, name)
            manager.check_pending()
        except pluggy.PluginValidationError as error:
            said = " ".join(str(error).split())
            raise PluginError(f"{found}: {said} ({module.__file__})") from error
        self._loaded[name] = Plugin(found, module, manager, wants)
        return self._loaded[name]

    def component(self, kind: str, name: str) -> ComponentClass:
        """The component of that kind and name, with its class imported.

        Raises:
            UsageError: no plugin provides it.
            PluginError: several plugins do, or its class cannot be imported.
        """
        plugin, target = self._provider(kind, name)
        self._named[plugin.info.name] = plugin
        return ComponentClass(kind, name, import_target(plugin, kind, name, target), plugin)

    def component_of(self, plugin: Plugin, kind: str, name: str) -> ComponentClass:
        """The component of one given plugin, whether or not others provide the same name.

        Raises:
            PluginError: its class cannot be imported.
        """
        return ComponentClass(kind, name, import_target(plugin, kind, name, plugin.provides(kind)[name]), plugin)

    def method(self, name: str) -> tuple[Method, Plugin]:
        """The method that ``--plugin NAME`` runs, and its plugin.

        A plugin without methods runs as a default host method (``harness_defaults``) with the plugin's components in
        their slots: the host with an outer loop where it provides a reward or a trainer, else the one without.

        Raises:
            UsageError: there is no such method, or the plugin has neither a method nor one component per kind.
            PluginError: the plugin cannot be loaded, or its method is not a :class:`harness.api.Method`.
        """
        if name in self._found:
            plugin = self.observe(name)
            methods = plugin.provides("method")
            if name not in methods and len(methods) == 1:
                name = next(iter(methods))
            elif not methods:
                return self._in_place(plugin), plugin
        plugin, target = self._provider("method", name)
        method = target if isinstance(target, Method) else import_target(plugin, "method", name, target)
        if not isinstance(method, Method):
            raise PluginError(f"{plugin.info}: method {name!r} is a {type(method).__name__}, not a harness.api.Method")
        return method, plugin

    def _in_place(self, plugin: Plugin) -> Method:
        own = {kind: plugin.provides(kind) for kind in KINDS if plugin.provides(kind)}
        many = next((kind for kind, names in own.items() if len(names) > 1), None)
        if many or not own:
            what = f"{len(own[many])} {many}s" if many else "no component"
            raise UsageError(f"{plugin.info} has no method to run, and {what}; choose a component with "
                             f"{many or 'editor'}.use in a method of another plugin, or give it a method")  # fmt: skip
        base = self._host("host_with_loop" if {"reward", "trainer"} & own.keys() else "host")
        slots = {kind: {"use": next(iter(names))} for kind, names in own.items() if kind in base.components}
        return dataclasses.replace(
            base,
            name=plugin.info.name,
            paper="",
            summary=f"{base.name} with " + " and ".join(f"{kind} {next(iter(names))!r}" for kind, names in own.items()),
            components={**base.components, **slots},
            protocol=next(iter(own.get("protocol", (base.protocol,)))),
            presets={
                name: {key: value for key, value in preset.items() if key not in {*slots, *({"protocol"} & own.keys())}}
                for name, preset in base.presets.items()
            },
        )

    def _host(self, key: str) -> Method:
        plugin, target = self._default(key)
        host = import_target(plugin, "default", key, target)
        if not isinstance(host, Method):
            raise PluginError(f"{plugin.info}: the default {key!r} is a {type(host).__name__}, not a Method")
        return host

    def default(self, key: Literal["method", "model"]) -> str:
        """The default name of a method or a model.

        Raises:
            UsageError: no installed plugin defines one.
        """
        return str(self._default(key)[1])

    def _default(self, key: str) -> tuple[Plugin, str]:
        own = self._found["core"].distribution

        def order(plugin: Plugin) -> tuple[bool, bool]:
            return plugin.info.name not in self.at_hand, plugin.info.distribution != own

        # A command without a name means the same on every machine, whatever else is installed.
        for plugin in sorted(self._loadable(), key=order):
            if key in (given := plugin.answers("harness_defaults")):
                return plugin, given[key]
        raise UsageError(f"no installed plugin defines a default {key}; name one")

    def commands(self) -> dict[str, tuple[Plugin, Command]]:
        """Verb -> its plugin and command, from every plugin that can be loaded; the first plugin by name wins."""
        out: dict[str, tuple[Plugin, Command]] = {}
        for plugin in self._loadable():
            for name, command in plugin.answers("harness_commands").items():
                if not isinstance(command, Command):
                    raise PluginError(f"{plugin.info}: verb {name!r} is a {type(command).__name__}, not a Command")
                out.setdefault(name, (plugin, command))
        return dict(sorted(out.items()))

    def names(self, kind: str) -> dict[str, PluginInfo]:
        """All names of one kind, from every plugin that can be loaded; broken ones are left out."""
        out: dict[str, PluginInfo] = {}
        for plugin in self._loadable():
            for name in plugin.provides(kind):
                out.setdefault(name, plugin.info)
        return dict(sorted(out.items()))

    def observe(self, name: str) -> Plugin:
        """Import a plugin, and call its observer hooks from now on."""
        self._named[name] = self.load(name)
        return self._named[name]

    def observers(self) -> list[Plugin]:
        """The plugins that the run has named, directly or through one of their components, in that order.

        A plugin that was imported only in search of a name is not among them, so what else is installed does not
        matter.
        """
        return list(self._named.values())

    def _provider(self, kind: str, name: str) -> tuple[Plugin, Any]:
        if kind not in KINDS:
            raise UsageError(f"no kind of component is called {kind!r}.{nearest(kind, KINDS)}")
        near = [*self.at_hand, name, name.split("-")[0], name.split(":")[0], "core"]
        for candidate in dict.fromkeys(near):
            if candidate in self._found:
                plugin = self.load(candidate)
                if name in plugin.provides(kind):
                    return plugin, plugin.provides(kind)[name]
        everywhere = [p for p in self._loadable() if name in p.provides(kind)]
        if len(everywhere) > 1:
            both = " and ".join(str(p.info) for p in everywhere)
            raise PluginError(f"{kind} {name!r} is provided by {both}; uninstall one, or rename one")
        if not everywhere:
            unseen = "".join(f" (broken: `harness plugins why {broken}`)" for broken in sorted(self._broken))
            raise UsageError(f"no {kind} is called {name!r}.{nearest(name, self.names(kind))}{unseen}")
        return everywhere[0], everywhere[0].provides(kind)[name]

    def _loadable(self) -> list[Plugin]:
        out = []
        for found in self:
            try:
                plugin = self.load(found.name)
                for kind in KINDS:
                    plugin.provides(kind)
                for hook in ("harness_defaults", "harness_commands"):
                    plugin.answers(hook)
            except PluginError:
                self._broken.add(found.name)
                continue
            out.append(plugin)
        return out


def _discover() -> tuple[dict[str, PluginInfo], dict[str, str]]:
    """The installed plugins by name, and for every name that two distributions claim, the error message."""
    found: dict[str, PluginInfo] = {}
    clashes: dict[str, str] = {}
    for entry in sorted(metadata.entry_points(group=GROUP), key=lambda e: (e.name, e.value)):
        item = PluginInfo(entry.name, entry.value, *_distribution(entry))
        twin = found.get(entry.name)
        if twin and (twin.distribution, twin.module) != (item.distribution, item.module):
            clashes[entry.name] = f"two plugins are called {entry.name!r}: {twin} and {item}; uninstall one"
            continue
        found[entry.name] = item
    return found, clashes


def _packages() -> set[str]:
    """Top-level packages of the distributions that register plugins, as far as their metadata list them."""
    entries = metadata.entry_points(group=GROUP)
    out = {entry.value.partition(":")[0].partition(".")[0] for entry in entries}
    for distribution in {entry.dist.name: entry.dist for entry in entries if entry.dist}.values():
        out |= {path.parts[0].removesuffix(".py") for path in distribution.files or () if path.suffix == ".py"}
    return out


def _distribution(entry: metadata.EntryPoint) -> tuple[str, str]:
    """Name and version of the distribution; a placeholder where an installer left only part of the metadata."""
    try:
        return (entry.dist.name, entry.dist.version) if entry.dist else ("unknown distribution", "-")
    except (KeyError, TypeError):
        return "a damaged distribution", "-"
