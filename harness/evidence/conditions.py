"""Rows' conditions: in which fields rows differ, also in words, and what neither of them records."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.evidence.result import ResultFile, Row, UsedComponent

_DIGEST = re.compile(r"(?:\w+:)?[0-9a-f]{16,64}")
_NAMES = {
    "metric": "judge",
    "base_model": "base model",
    "start_model": "start model",
    "model_settings": "settings of the model",
    "evaluator": "settings of the evaluator",
    "open_book": "open book",
}
_JUDGES = {"recorded GPT-4.1 verdicts": "gpt-4.1", "GPT-4.1's verdict": "gpt-4.1"}


def differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Names of the fields in which two rows' conditions differ, in alphabetical order."""
    return [name for name in sorted({*a, *b}) if a.get(name) != b.get(name)]


def groups(rows: Iterable[Row]) -> list[list[Row]]:
    """Rows grouped by equal conditions, in order of first appearance."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(json.dumps(dict(row.conditions), sort_keys=True), []).append(row)
    return list(found.values())


def describe(a: tuple[ResultFile, Row], b: tuple[ResultFile, Row], fields: Sequence[str]) -> list[str]:
    """One phrase per field, such as ``judge gpt-4.1 against offline-1``; no digest is ever shown."""
    return [_difference(name, a, b) for name in fields]


def _difference(name: str, a: tuple[ResultFile, Row], b: tuple[ResultFile, Row]) -> str:
    called = _NAMES.get(name, name.replace("_", " "))
    one, other = (_value(name, *side) for side in (a, b))
    if name == "items" and one == other:
        return f"other items, though as many on either side ({one})"
    if one != other:
        return f"{called} {one} against {other}"
    if name == "base_model":
        return f"base model {one} on either side, with other weights"
    return f"{called} {'differ' if called.startswith('settings') else 'differs'}"


def _value(name: str, found: ResultFile, row: Row) -> str:
    value: Any = row.conditions.get(name)
    if value is None:
        return "not recorded"
    if name == "items":
        return f"{found.task.queries} queries of {len(found.task.items)} contexts"
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = _JUDGES.get(str(value), str(value))
    if not _DIGEST.fullmatch(text):
        return text
    return found.model.name if name == "base_model" else "as recorded"


_SAID = {
    ("open_book", True): "open book",
    ("open_book", False): "closed book",
    ("transductive", True): "trained on the test contexts",
    ("transductive", False): "not trained on the test contexts",
    ("start_model", "model"): "edits applied to the model as it came",
    ("start_model", "policy"): "edits applied to a trained policy",
}


def in_words(name: str, of: tuple[ResultFile, Row], others: Sequence[tuple[ResultFile, Row]]) -> str:
    """One condition of a row, where rows shown beside it differ in it; a digest is told by what differs behind it.

    Args:
        others: a row of each group that is shown, this one's among them, in a fixed order.
    """
    found, row = of
    value = row.conditions.get(name)
    if isinstance(value, bool | str) and (name, value) in _SAID:
        return _SAID[name, value]
    if name == "samples" and isinstance(value, int | str):
        return f"{value} edit{'' if str(value) == '1' else 's'} per context"
    called = _NAMES.get(name, name.replace("_", " "))
    shown = _value(name, found, row)
    if shown != "as recorded":
        return f"{called} {shown}"
    slot = "protocol" if name == "protocol_settings" else name
    settings = [_settings(slot, *one) for one in others]
    mine = _settings(slot, *of)
    apart = [key for key in mine if any(one.get(key) != mine[key] for one in settings if one)]
    if apart:
        return f"{slot} with {', '.join(f'{key} {mine[key]!r}' for key in apart)}"
    known = list(dict.fromkeys(str(other.conditions.get(name)) for _, other in others))
    return f"{called}: variant {known.index(str(value)) + 1 if str(value) in known else len(known) + 1}"


def _settings(slot: str, found: ResultFile, row: Row) -> Mapping[str, Any]:
    used = _measured_with(found, row).get(slot)
    return used.settings if used else {}


def code(a: tuple[ResultFile, Row], b: tuple[ResultFile, Row]) -> list[str]:
    """A sentence for each of task, evaluator and protocol whose code differs between the rows.

    This is a note and no reason to refuse: the task's version says whether scores still mean the same, code changes
    with every release, and a gate that refused it could never compare new code with an old baseline.
    """
    used = [_measured_with(*side) for side in (a, b)]
    out = []
    for slot in ("task", "evaluator", "protocol"):
        one, other = (side.get(slot) for side in used)
        if one and other and one.name == other.name and one.code != other.code:
            out.append(
                f"the code of {slot} {one.name!r} differs at version {a[0].task.version}: "
                "part of the difference may be how it was measured"
            )
    return out


def _measured_with(found: ResultFile, row: Row) -> dict[str, UsedComponent]:
    """The components that asked and graded a row of the headline, by slot; empty where they are not recorded."""
    known = found.provenance
    slots = known.rows.get(row.method, {}) if known else {}
    out = {}
    for slot in ("task", "evaluator", "protocol"):
        name = slots.get(f"also.{found.headline}.{slot}", slots.get(slot))
        if known and name:
            out[slot] = known.components[name]
    return out


def unrecorded(a: Row, b: Row) -> str:
    """What neither row records and may therefore differ, in words; "" where there is no such field."""
    names = [name for name, value in a.conditions.items() if value is None and b.conditions.get(name) is None]
    if not names:
        return ""
    called = [_NAMES.get(name, name.replace("_", " ")) for name in names]
    listed = " and ".join([", ".join(called[:-1]), called[-1]] if len(called) > 1 else called)
    return f"{listed} not recorded on either side: they may differ"
