"""Tables of a configuration: read from a file or from ``--set``, and laid over one another.

A section such as ``[updater]`` is a slot's table: ``use`` names its component, everything else is a setting of it.
"""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.api import JSON
from harness.errors import UsageError, nearest
from harness.reading import read_toml, user_path, within_limits


def read_file(path: Path) -> dict[str, Any]:
    """A TOML configuration.

    Raises:
        UsageError: the file is absent, or is not TOML (with the line).
    """
    path = user_path(path)
    if not path.exists():
        here = [str(p) for p in path.parent.glob("*.toml")] if path.parent.is_dir() else []
        raise UsageError(f"no configuration file at {path}.{nearest(str(path), here)}")
    return read_toml(path)


def parse_set(assignments: Sequence[str]) -> dict[str, Any]:
    """``updater.learning_rate=5e-4`` as nested tables; the right side is TOML, or else a string."""
    out: dict[str, Any] = {}
    for assignment in assignments:
        path, sign, text = assignment.partition("=")
        if not sign or not path.strip():
            raise UsageError(f"--set {assignment!r}: write KEY=VALUE, such as updater.learning_rate=5e-4")
        value = assigned(text, f"--set {assignment!r:.80}")
        at = out
        *parents, last = path.strip().split(".")
        for parent in parents:
            at = at.setdefault(parent, {})
            if not isinstance(at, dict):
                raise UsageError(f"--set {assignment!r}: {parent} already has a value that is not a table")
        at[last] = value
    return out


def assigned(text: str, where: str) -> Any:
    """The TOML value that a text spells, or else the text itself."""
    try:
        tables = tomllib.loads(f"v = {text}")
    except tomllib.TOMLDecodeError:
        return text.strip()
    except (RecursionError, ValueError) as why:
        raise UsageError(f"{where}: not a value that a setting can have: {why}") from None
    return within_limits(tables["v"], where) if len(tables) == 1 else text.strip()


def slot_table(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if isinstance(value, str):
        return {"use": value}
    if not isinstance(value, Mapping):
        raise UsageError(f"a slot is a table or the name of a component, not {value!r:.60}")
    return copy.deepcopy(dict(value))


def overlay(under: JSON, over: JSON, strict: bool) -> dict[str, Any]:
    """``over`` on top of ``under``. Naming another component, ``over`` replaces ``under`` (strict) or is ignored."""
    use = over.get("use", under.get("use"))
    if use != under.get("use") and "use" in under:
        return {**({"kind": under["kind"]} if "kind" in under else {}), **over} if strict else dict(under)
    return {**under, **{key: _nested(under.get(key), value) for key, value in over.items()}}


def _nested(under: Any, over: Any) -> Any:
    """A nested table that names no component goes on top of the one that is there."""
    if not isinstance(over, Mapping) or "use" in over:
        return over
    if isinstance(under, str):
        return {"use": under, **over}
    return overlay(under, over, strict=True) if isinstance(under, Mapping) and "use" in under else over


def fill(table: JSON, main_slots: JSON) -> dict[str, Any]:
    """The table with ``"@editor"`` replaced by the main method's table of that slot."""
    out: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, str) and value.startswith("@") and value[1:] in main_slots:
            value = {k: v for k, v in main_slots[value[1:]].items() if k != "kind"}
        out[key] = value
    return out
