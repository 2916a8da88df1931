"""What is installed, with one line about each thing, for people and shells that ask.

A line is the first sentence of a docstring (for methods, their summary). Docstrings are read from the source, so that
listing components does not import them, or torch with them.
"""

from __future__ import annotations

import ast
import collections.abc
import dataclasses
import importlib.util
import inspect
import json
import re
import textwrap
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union

from harness.api import JSON, Component
from harness.errors import PluginError, UsageError, nearest
from harness.registry.build import BASES
from harness.registry.discover import Plugins
from harness.registry.plugin import Plugin, PluginInfo, import_target


@dataclass(frozen=True)
class Entry:
    """A component, method or plugin, and its line."""

    kind: str
    name: str
    plugin: PluginInfo
    summary: str


@dataclass(frozen=True)
class Setting:
    """One field of a settings dataclass."""

    name: str
    type: str
    """In words: ``int, at least 1``, ``"target" | "all"``, ``list of str``."""
    default: Any
    """None where there is none, too."""
    required: bool
    meaning: str
    """Its docstring, from the class that declares it or the nearest one above that says something; "" without."""


def plugin_entries(plugins: Plugins) -> list[Entry]:
    """The installed plugins, from their metadata and the docstrings of their modules: none is imported."""
    return [Entry("plugin", found.name, found, first_sentence(_module_doc(found))) for found in plugins]


def entries(kind: str, plugins: Plugins) -> list[Entry]:
    """What all plugins that can be loaded provide of one kind, by name."""
    return [
        Entry(kind, name, found, _summary(kind, name, plugins.load(found.name)))
        for name, found in plugins.names(kind).items()
    ]


def presets_of(plugins: Plugins) -> list[tuple[str, str, JSON]]:
    """(method, preset, tables) of every preset; a method that cannot be imported has none."""
    out: list[tuple[str, str, JSON]] = []
    for name in plugins.names("method"):
        try:
            method, _ = plugins.method(name)
        except PluginError:
            continue
        out += [(name, preset, tables) for preset, tables in method.presets.items()]
    return out


def settings_of(name: str, plugins: Plugins) -> list[tuple[Entry, type[Component]]]:
    """The components of one name (there may be one of each kind), with their classes.

    Raises:
        UsageError: there is none, with the nearest name.
        PluginError: a class cannot be imported.
    """
    found = [entry for kind in BASES for entry in entries(kind, plugins) if entry.name == name]
    if not found:
        known = {known for kind in BASES for known in plugins.names(kind)}
        raise UsageError(f"no component is called {name!r}.{nearest(name, known)}")
    return [(entry, plugins.component(entry.kind, name).cls) for entry in found]


def settings_in(cls: Any) -> list[Setting]:
    """The fields of a settings dataclass, in order; none for None."""
    if cls is None:
        return []
    out = []
    hints = typing.get_type_hints(cls, include_extras=True)
    for field in dataclasses.fields(cls):
        declared = [_declared(base).get(field.name) for base in inspect.getmro(cls) if base is not object]
        made = field.default_factory
        default = made() if made is not dataclasses.MISSING else field.default
        required = default is dataclasses.MISSING
        meaning = next((text for text in declared if text), "")
        out.append(
            Setting(field.name, type_in_words(hints[field.name]), None if required else default, required, meaning)
        )
    return out


def type_in_words(hint: Any) -> str:
    """A type hint as a person would say it; what a limit in ``Annotated`` says stands after it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        kept = [type_in_words(arguments[0]), *filter(None, map(_limits, arguments[1:]))]
        return ", ".join(kept)
    if origin is Literal:
        return " | ".join(json.dumps(one) for one in arguments)
    if origin in (Union, UnionType):
        return " | ".join(dict.fromkeys(type_in_words(one) for one in arguments))
    if origin in (tuple, list, collections.abc.Sequence):
        return f"list of {type_in_words(arguments[0])}"
    if origin in (dict, collections.abc.Mapping):
        return "table"
    if hint in (type(None), Any):
        return "not set" if hint is not Any else "any value"
    return getattr(hint, "__name__", str(hint))


def _limits(note: Any) -> str:
    """The limits in pydantic's metadata of a field; "" for other notes."""
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    found = [(words[name], getattr(one, name)) for one in getattr(note, "metadata", ()) for name in words
             if hasattr(one, name)]  # fmt: skip
    return " and ".join(f"{word} {limit}" for word, limit in found)


def first_sentence(doc: str | None) -> str:
    """The first sentence of a docstring, as one line without markup; "" for None."""
    paragraph = " ".join((doc or "").strip().split("\n\n")[0].split())
    sentence = re.split(r"(?<=[.!?])\s+(?=[A-Z])", paragraph)[0]
    return plain(sentence).rstrip(".:")


def plain(text: str) -> str:
    """A docstring's text without its markup: cross references become names, double back-quotes single ones."""
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", text)
    return text.replace("``", "`")


def _summary(kind: str, name: str, plugin: Plugin) -> str:
    target = plugin.provides(kind)[name]
    if kind == "method":
        try:
            found = import_target(plugin, kind, name, target)
        except PluginError as error:
            return f"broken: {error}"
        return str(getattr(found, "summary", ""))
    return first_sentence(_class_doc(target) if isinstance(target, str) else inspect.getdoc(target))


def _module_doc(found: PluginInfo) -> str:
    source = _source(found.module) if found.path is None else found.path
    return (ast.get_docstring(_parsed(source)) or "") if source else ""


def _source(module: str) -> Path | None:
    """The file of a module, without importing it; None where there is none that holds Python source."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def _class_doc(target: str) -> str:
    """The docstring of ``module:Class``, read from the source; "" where it cannot be found there."""
    module, _, attribute = target.partition(":")
    source = _source(module)
    if source is None:
        return ""
    for node in _parsed(source).body:
        if isinstance(node, ast.ClassDef) and node.name == attribute:
            return ast.get_docstring(node) or ""
        if isinstance(node, ast.ImportFrom):
            named = next((alias.name for alias in node.names if (alias.asname or alias.name) == attribute), None)
            if named is not None:
                package = module if source.stem == "__init__" else module.rpartition(".")[0]
                place = "." * node.level + (node.module or "")
                return _class_doc(f"{importlib.util.resolve_name(place, package)}:{named}")
    return ""


@cache
def _parsed(path: Path) -> ast.Module:
    """A file's syntax tree; an empty one where it cannot be parsed, which importing it will tell."""
    try:
        return ast.parse(path.read_text("utf-8"))
    except (OSError, SyntaxError, ValueError):
        return ast.Module([], [])


@cache
def _declared(cls: type) -> Mapping[str, str]:
    """Field -> its docstring as one class declares it, without its bases'."""
    try:
        [node] = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    except (OSError, TypeError):
        return {}
    return dict(_fields(node)) if isinstance(node, ast.ClassDef) else {}


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for index, part in enumerate(node.body):
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            after = node.body[index + 1] if index + 1 < len(node.body) else None
            doc = ""
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                doc = inspect.cleandoc(str(after.value.value))
            yield part.target.id, doc
