"""One method at several strengths: in which settings rows differ, and which rows differ in one number alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.evidence.result import ResultFile, Row

Settings = Mapping[str, Any]
_SLOTS_OF_THE_RUN = ("task", "evaluator")
"""What asks and grades is a condition of a row and no strength of its method."""


@dataclass(frozen=True)
class Curve:
    """Rows that differ in one number alone, in its order."""

    setting: str
    """Such as ``updater.null_space``."""
    places: tuple[int, ...]
    """Of the rows, by rising value."""


def settings(found: ResultFile, row: Row) -> dict[str, Any]:
    """``slot.key`` -> value, of every component of a row, its name as ``slot.use``; empty where it was not kept."""
    known = found.provenance
    out: dict[str, Any] = {}
    for slot, place in (known.rows.get(row.method, {}) if known else {}).items():
        if known and not slot.startswith(("also.", "roles.")) and slot not in _SLOTS_OF_THE_RUN:
            used = known.components[place]
            out |= _flat({"use": used.name, **used.settings}, f"{slot}.")
    return out


def curves(rows: Sequence[Settings]) -> list[Curve]:
    """The rows, named by their places, that differ in one number alone; two at least."""
    out = []
    for setting in sorted({name for row in rows for name, value in row.items() if _number(value)}):
        alike: dict[str, dict[float, int]] = {}
        for place, row in enumerate(rows):
            if _number(row.get(setting)):
                rest = json.dumps({name: value for name, value in row.items() if name != setting}, sort_keys=True)
                alike.setdefault(rest, {}).setdefault(row[setting], place)
        for found in alike.values():
            if len(found) > 1:
                out.append(Curve(setting, tuple(found[value] for value in sorted(found))))
    return out


def told_apart(rows: Sequence[Settings], most: int = 2) -> list[str]:
    """What distinguishes each of several rows of one method, such as ``null_space 0.5``; "" for all of them where
    that is no setting, or more than a few."""
    names = sorted({name for row in rows for name in row if any(one.get(name) != row[name] for one in rows)})
    said = [", ".join(f"{name.split('.')[-1]} {row.get(name)}" for name in names) for row in rows]
    return said if len(names) <= most and len(set(said)) == len(rows) else [""] * len(rows)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _flat(value: Settings, under: str) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, one in value.items():
        out |= _flat(one, f"{under}{name}.") if isinstance(one, Mapping) else {f"{under}{name}": one}
    return out
