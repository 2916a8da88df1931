"""The command that makes a run again: everything that was given (file, ``--set``, flags) as flags and assignments."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.runs.tables import assigned

WHERE_AND_WHEN = frozenset({"out", "leaderboard", "reuse", "max_hours"})
"""Settings of where a run is kept, what it reuses and when it stops; none of them changes a score."""
_FLAGS = ("model", "preset", "limit", "seeds", "edits", "judge")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def command(given: Mapping[str, Any], plugin_files: Sequence[Path] = ()) -> str:
    """``harness run --plugin seal --seeds 3 --set updater.rank=8``: quoted for a shell.

    Args:
        given: keys of a run's configuration as :func:`harness.run` takes them.
        plugin_files: the file that ``--plugin`` named instead of a method, if one did.
    """
    rest = {key: value for key, value in given.items() if key not in WHERE_AND_WHEN and value is not None}
    words = ["harness", "run"]
    method = rest.pop("method", "")
    if named := str(plugin_files[0]) if plugin_files else method:
        words += ["--plugin", named]
    words += _task_and_protocol(rest)
    for name in _FLAGS:
        if rest.get(name) and not isinstance(rest[name], Mapping):
            words += [f"--{name}", str(rest.pop(name))]
    if rest.get("all") is True:
        del rest["all"]
        words.append("--all")
    for path, text in _assignments(rest):
        words += ["--set", f"{path}={text}"]
    return shlex.join(words)


def _task_and_protocol(rest: dict[str, Any]) -> list[str]:
    """The flags of task and protocol; ``rest`` keeps the settings that have no flag."""
    words: list[str] = []
    for name, flags in (("task", {"use": "--task", "data": "--data"}), ("protocol", {"use": "--protocol"})):
        table = rest.pop(name, {})
        table = {"use": table} if isinstance(table, str) else dict(table)
        for key, flag in flags.items():
            if isinstance(table.get(key), str) and table[key]:
                words += [flag, table.pop(key)]
        if table:
            rest[name] = table
    return words


def _assignments(table: Mapping[str, Any], under: str = "") -> Iterator[tuple[str, str]]:
    """Dotted path and value, as :func:`harness.runs.tables.parse_set` reads them."""
    for key, value in table.items():
        path = f"{under}.{key}" if under else key
        if isinstance(value, Mapping) and value and all(map(_BARE_KEY.fullmatch, value)):
            yield from _assignments(value, path)
        elif value is not None:
            yield path, _text(value)


def _text(value: Any) -> str:
    """A text as it is where ``--set`` reads it as itself; any other value as TOML."""
    return value if isinstance(value, str) and _reads_as_itself(value) else _toml(value)


def _reads_as_itself(text: str) -> bool:
    try:
        return text == text.strip() and assigned(text, "") == text
    except UsageError:  # a number out of range, such as nan
        return False


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_toml(key)} = {_toml(one)}' for key, one in value.items() if one is not None)}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
