"""Strict settings: turns a configuration table into a frozen dataclass, or raises one line that says why not."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from harness.api import JSON
from harness.errors import UsageError, nearest


def check_settings(
    settings_class: Any, given: JSON, where: str, what: str, also: Mapping[str, str] | None = None
) -> Any:
    """An instance of a settings dataclass, made strictly from a table; None where ``settings_class`` is None.

    Args:
        given: the table.
        where: path of the table in the configuration, for messages.
        what: the component, for messages.
        also: further valid keys of the table, to suggest for an unknown one.

    Raises:
        UsageError: an unknown key (with the nearest valid one), or a value of the wrong type.
    """
    known = [f.name for f in dataclasses.fields(settings_class)] if settings_class else []
    for key in given:
        if key not in known:
            raise UsageError(f"{where}.{key}: no such setting of {what}.{nearest(key, [*known, *(also or {})])}")
    if settings_class is None:
        return None
    from pydantic import TypeAdapter, ValidationError

    try:
        # JSON mode: TOML arrays become tuples, integers become floats, and nothing else is coerced.
        return TypeAdapter(settings_class).validate_json(json.dumps(dict(given)), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in (where, *first["loc"]))
        raise UsageError(f"{path}: {first['msg']}, got {first['input']!r:.60}") from error
