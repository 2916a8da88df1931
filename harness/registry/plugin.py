"""One plugin: its metadata, its import, what its hooks return, and the errors that name it."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy

from harness import hookspecs, reads
from harness.api import API_VERSION, EditFailed, HarnessError
from harness.errors import PluginError, nearest

KINDS: Mapping[str, str] = {
    "method": "harness_methods",
    "task": "harness_tasks",
    "model": "harness_models",
    "editor": "harness_editors",
    "reward": "harness_rewards",
    "updater": "harness_updaters",
    "evaluator": "harness_evaluators",
    "trainer": "harness_trainers",
    "protocol": "harness_protocols",
}
"""Kind of component -> the hook that provides it."""


@dataclass(frozen=True)
class PluginInfo:
    """A plugin as its metadata describe it, before it is imported."""

    name: str
    module: str
    distribution: str
    version: str
    path: Path | None = None
    """Set when the plugin is a single file given on the command line."""

    def __str__(self) -> str:
        return f"plugin {self.name!r} ({self.distribution} {self.version}, {self.path or self.module})"


@dataclass
class Plugin:
    """An imported plugin: its module, and what its provider hooks return."""

    info: PluginInfo
    module: ModuleType
    manager: pluggy.PluginManager
    api: int = API_VERSION
    """The version of the contract that it is written for: its module's ``HARNESS_API``, else the current one."""
    _provided: dict[str, Mapping[str, Any]] = field(default_factory=dict)

    def provides(self, kind: str) -> Mapping[str, Any]:
        """Name -> ``"module:Class"`` of one kind of component (for methods: a Method, or where to find it)."""
        if kind not in self._provided:
            self._provided[kind] = self.answers(KINDS[kind])
        return self._provided[kind]

    def answers(self, hook: str) -> dict[str, Any]:
        """The mapping that a hook returns; within a plugin, a later implementation overrides an earlier one.

        Raises:
            PluginError: it raised, or returned something else.
        """
        with blaming(f"{self.info}: hook {hook} raised"):
            found = getattr(self.manager.hook, hook)()
        merged: dict[str, Any] = {}
        for answer in found:
            if not isinstance(answer, Mapping):
                raise PluginError(f"{self.info}: hook {hook} must return a mapping, not {type(answer).__name__}")
            merged.update(answer)
        return merged

    def hooks(self) -> list[str]:
        """Names of the hooks that the plugin implements, in the order of :mod:`harness.hookspecs`."""
        mine = {caller.name for caller in self.manager.get_hookcallers(self.module) or ()}
        return [hook for hook in vars(hookspecs) if hook in mine]


@dataclass(frozen=True)
class ComponentClass:
    """A component's class, and the plugin that provides it."""

    kind: str
    name: str
    cls: Any
    plugin: Plugin


@contextmanager
def blaming(what: str) -> Iterator[None]:
    """Run a plugin's code; whatever it raises, ``sys.exit`` included, becomes one line that begins with ``what``.

    Raises:
        PluginError: the code raised anything but an error of the harness or Ctrl-C, which pass unchanged.
    """
    try:
        yield
    except (HarnessError, EditFailed, KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:
        raise PluginError(f"{what} {describe(error)}") from error


def describe(error: BaseException) -> str:
    """``ValueError: what (file.py:12)``; the place is the innermost frame outside the import machinery."""
    frames = traceback.extract_tb(error.__traceback__)
    place = ""
    if frames:
        last = next((f for f in reversed(frames) if "importlib" not in f.filename), frames[-1])
        place = f" ({last.filename}:{last.lineno})"
    if isinstance(error, SyntaxError) and error.filename:
        place = f" ({error.filename}:{error.lineno})"
    text = str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {text}{place}"


_from_files: set[str] = set()
"""Names of modules that this process imported from plugin files: another plugin file may replace these, and no
others."""


def import_file(path: Path) -> ModuleType:
    """The module of a plugin that is a single file, importable under the file's name from now on."""
    name = path.stem
    if name in sys.stdlib_module_names or (name in sys.modules and name not in _from_files):
        raise ImportError(f"there is already a module {name!r}; rename {path.name}")
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    # Components name their class as "module:Class", so the file must be importable under its own name.
    sys.modules[name] = module
    _from_files.add(name)
    reads.forget_module(name)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def import_target(plugin: Plugin, kind: str, name: str, target: Any) -> Any:
    """The object that ``"module:attribute"`` names.

    Raises:
        PluginError: the module cannot be imported, or lacks the attribute.
    """
    if not isinstance(target, str):
        return target
    module_name, _, attribute = target.partition(":")
    with blaming(f"{plugin.info}: {kind} {name!r} = {target!r} fails:"):
        module = importlib.import_module(module_name)
    value: Any = module
    for part in attribute.split("."):
        if not hasattr(value, part):
            raise PluginError(
                f"{plugin.info}: {kind} {name!r} = {target!r}: there is no {part!r} in {module.__file__}."
                + nearest(part, [known for known in vars(value) if not known.startswith("_")])
            )
        value = getattr(value, part)
    return value


def fault_of_hooks(module: ModuleType) -> str:
    """What is wrong with a module's hooks, with file and line; "" where nothing is.

    Pluggy would silently accept two of these faults: a misspelled name, and a hook without the marker.
    """
    known = {name: inspect.signature(spec) for name, spec in vars(hookspecs).items() if name.startswith("harness_")}
    for name, value in vars(module).items():
        if not inspect.isfunction(value) or value.__module__ != module.__name__:
            continue
        place = f"({value.__code__.co_filename}:{value.__code__.co_firstlineno})"
        marked = hasattr(value, "harness_impl")
        if marked and name not in known:
            return f"there is no hook {name!r} {place}.{nearest(name, known)}"
        if not marked and name in known:
            return f"{name} is not marked with @harness.hookimpl, so nothing would call it {place}"
        if marked:
            gives = list(known[name].parameters)
            for argument in inspect.signature(value).parameters:
                if argument not in gives:
                    what = f"the argument {gives[0]!r}" if gives else "no arguments"
                    return f"hook {name} is called with {what}, but takes {argument!r} {place}"
    return ""
