"""Provenance for the result file: every slot's resolved settings, the digest of its code, and versions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from harness.api import JSON
from harness.books.environment import describe_environment
from harness.books.records import digest
from harness.evidence.result import Provenance, UsedComponent
from harness.registry import fingerprint
from harness.registry.build import resolve
from harness.registry.plugin import ComponentClass
from harness.runs.arm import OpenRun
from harness.runs.layers import Arm


def provenance(opened: OpenRun) -> Provenance:
    """What the rows of a run were made with. Call it when all rows are done, for it needs their models open."""
    journal = opened.context.journal
    versions: dict[str, str] = dict((journal.fact("environment") or describe_environment())["versions"])
    components: dict[str, UsedComponent] = {}
    rows: dict[str, dict[str, str]] = {}
    for arm in opened.config.arms:
        mine = rows[arm.method.name] = {}
        for slot, kind, identity in _identities(opened, arm):
            found = opened.plugins.component(kind, identity["component"])
            used = UsedComponent(kind, found.name, _provider(found), _code(identity), _settings(identity))
            mine[slot] = digest(asdict(used))[:12]
            components[mine[slot]] = used
            versions |= fingerprint.of_class(found.cls).installed
            if found.plugin.info.path is None:
                versions[found.plugin.info.distribution] = found.plugin.info.version
    options = {key: value for key, value in opened.config.as_json().items() if key not in _LEFT_OUT}
    return Provenance(options, components, rows, dict(sorted(versions.items())))


_LEFT_OUT = frozenset({"task", "model", "also", "arms", "roles", "out", "leaderboard", "reuse", "max_hours"})
"""Options whose settings are among the components, or that say where a run is kept and how long it may take."""


def _identities(opened: OpenRun, arm: Arm) -> Iterator[tuple[str, str, JSON]]:
    """Slot, kind and identity of every component that a row was made with."""
    booked: Mapping[str, JSON] = opened.context.journal.fact(f"components/{arm.method.name}") or {}
    for slot, identity in booked.items():
        kind = arm.slots[slot]["kind"] if slot in arm.slots else slot.rpartition(".")[2]
        yield slot, kind, identity
    for role, table in arm.roles.items():
        if isinstance(table, Mapping):
            settings = resolve(opened.plugins, "model", table, f"roles.{role}")
            source = opened.context.sources[opened.open_model(table).base]
            yield f"roles.{role}", "model", {"component": settings.pop("use"), "source": source, "settings": settings}


def _provider(found: ComponentClass) -> str:
    info = found.plugin.info
    return info.path.name if info.path else info.distribution


def _code(identity: JSON) -> str:
    nested = {name: _code(part) for name, part in identity.get("nested", {}).items()}
    return digest([identity["source"], nested])[:20] if nested else str(identity["source"])


def _settings(identity: JSON) -> dict[str, Any]:
    nested = {name: {"use": part["component"], **_settings(part)} for name, part in identity.get("nested", {}).items()}
    return {**identity["settings"], **nested}
