"""Variants: further rows of a run, each a method under another name with settings of its own.

``[variants.seal-rewrite]`` with ``method = "seal"`` and ``editor = {prompt = "rewrite"}`` is the method ``seal`` as it
would stand in this run, except that its editor has that prompt. So one configuration holds a whole table of ablations.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from pydantic import Field

from harness.api import JSON, Method
from harness.errors import UsageError, nearest
from harness.registry.discover import Plugins
from harness.registry.plugin import Plugin
from harness.registry.settings import check_settings

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")
_OWN = ("method", "samples", "roles", "summary")


@dataclass(frozen=True)
class VariantSettings:
    """The keys of a variant that are not slots."""

    method: str
    """The method that it is a variant of."""
    samples: Annotated[int, Field(ge=0)] = 0
    """Self-edits per test context; 0 takes the run's number."""
    roles: Mapping[str, Any] = field(default_factory=dict)
    """Role -> a model; replaces the run's."""
    summary: str = ""
    """One line about it; "" takes the method's."""


@dataclass(frozen=True)
class Variant:
    """A method under another name, and what it sets over everything else."""

    method: Method
    plugin: Plugin
    settings: VariantSettings
    tables: JSON
    """Slot -> table, on top of what the run sets for the slot."""


def read_variants(given: JSON, plugins: Plugins, main: str) -> list[Variant]:
    """The variants of a configuration, in its order.

    Raises:
        UsageError: a variant has the main method's name, or names no method, or an unknown key.
    """
    found = []
    for name, table in given.items():
        where = f"variants.{name}"
        if name == main:
            raise UsageError(f"{where}: the run's main method has that name; set its slots directly")
        if not _NAME.fullmatch(name):
            raise UsageError(f"{where}: a variant's name is letters, digits, '-', '_' and '.'")
        if not isinstance(table, Mapping) or not isinstance(table.get("method"), str):
            raise UsageError(f'{where}: write method = "NAME", the method that it is a variant of')
        settings = check_settings(
            VariantSettings, {key: value for key, value in table.items() if key in _OWN}, where, "a variant"
        )
        method, plugin = plugins.method(settings.method)
        tables = {key: value for key, value in table.items() if key not in _OWN}
        for slot, value in tables.items():
            adds = isinstance(value, Mapping) and {"use", "kind"} <= {*value}
            if slot not in method.components and slot != "cpt" and not adds:
                known = [*method.components, *_OWN]
                raise UsageError(f"{where}.{slot}: method {method.name!r} has no such slot.{nearest(slot, known)}")
        own = replace(method, name=name, summary=settings.summary or method.summary)
        found.append(Variant(own, plugin, settings, tables))
    return found
