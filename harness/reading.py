"""Readers for files that others wrote: text, JSON, JSON lines and TOML, read strictly and within limits.

A reader returns a valid value, or raises an error of one line that names the file and the place. It refuses anything
that is not UTF-8 (a byte order mark is allowed), NaN and infinities, numbers too large for any measurement or setting,
duplicate keys in one object, nesting deeper than any format here uses, and dates in TOML, which JSON cannot hold. Lone
surrogates are replaced (:mod:`harness.text`), with a warning.
"""

from __future__ import annotations

import json
import logging
import math
import re
import tomllib
from collections.abc import Hashable, Iterator, Mapping
from functools import cache
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar, cast

from harness.api import HarnessError
from harness.errors import UsageError, nearest
from harness.text import repaired, said

MAX_DEPTH = 64
"""Levels of nested objects and lists. No format here uses more than 10; Python's recursion limit is about 1,000."""
MAX_WHOLE = 2**63
"""Integers fit in 64 bits with a sign, as TOML requires."""
MAX_NUMBER = 1e100
"""The square of a much larger number would overflow."""
MAX_KEY = 400
"""Characters of a key: messages quote keys, and are one line long."""

_log = logging.getLogger("harness")
_Model = TypeVar("_Model")
_UNUSUAL = re.compile(r"\d{19}|\d[eE]\+?\d{2}")
_HALF = re.compile(r"\\u[dD][89a-fA-F]")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|NaN|-?Infinity|-?\d[\d.eE+-]*', re.DOTALL)


class _Refused(ValueError):
    """Says what is wrong with a value; ``token`` is the text by which :func:`_line_of` finds its line."""

    def __init__(self, what: str, token: str = "") -> None:
        super().__init__(what)
        self.token = token


def user_path(given: str | Path, error: type[HarnessError] = UsageError) -> Path:
    """A path that a user wrote, with ``~`` expanded; nothing need exist there.

    Raises:
        error: no file can have that name, or access to it is denied.
    """
    path = Path(given)
    try:
        path = path.expanduser()
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, RuntimeError, ValueError) as why:
        raise error(f"{str(given)!r:.80}: not a usable path: {getattr(why, 'strerror', None) or why}") from None
    return path


def read_text(path: Path | Traversable, error: type[HarnessError] = UsageError, *, where: str = "") -> str:
    """A text file in UTF-8, without its byte order mark.

    Args:
        where: what messages call the file, instead of its path.

    Raises:
        error: the file does not exist (with the nearest name in its folder), cannot be read, or is not UTF-8.
    """
    where = where or str(path)
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise error(f"{where}: cannot be read: no such file.{_beside(path)}") from None
    except IsADirectoryError:
        raise error(f"{where}: cannot be read: it is a folder, not a file") from None
    except (OSError, ValueError) as why:
        raise error(f"{where}: cannot be read: {getattr(why, 'strerror', None) or why}") from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as why:
        line = why.object.count(b"\n", 0, why.start) + 1
        raise error(f"{where}: line {line}: not UTF-8 (byte 0x{why.object[why.start]:02x}); save it as UTF-8") from None


def read_json(path: Path | Traversable, error: type[HarnessError] = UsageError, *, repair: bool = True) -> Any:
    """The value of a JSON file; see :func:`parse_json`."""
    return parse_json(read_text(path, error), str(path), error, repair=repair)


def read_json_lines(
    path: Path | Traversable, error: type[HarnessError] = UsageError, *, where: str = "", repair: bool = True
) -> Iterator[tuple[int, Any]]:
    """Yields ``(line number from 1, value)`` for every line that is not blank; see :func:`parse_json`."""
    where = where or str(path)
    for number, line in enumerate(read_text(path, error, where=where).split("\n"), 1):
        if line.strip():
            yield number, parse_json(line, where, error, first_line=number, repair=repair)


def read_toml(path: Path | Traversable, error: type[HarnessError] = UsageError) -> dict[str, Any]:
    """The tables of a TOML file; see :func:`parse_toml`."""
    return parse_toml(read_text(path, error), str(path), error)


def parse_json(
    text: str, where: str, error: type[HarnessError] = UsageError, *, first_line: int = 1, repair: bool = True
) -> Any:
    """A JSON value, strictly.

    Args:
        where: what messages call the source.
        first_line: the line number of the text's first line within the source.
        repair: replace lone surrogates; a task's loader leaves that to the run, which counts them.

    Raises:
        error: it is not JSON, or exceeds the limits; with line and column where they are known.
    """
    odd = _UNUSUAL.search(text) is not None
    try:
        value = json.loads(
            text,
            parse_constant=_constant,
            object_pairs_hook=_object,
            parse_int=_whole if odd else None,
            parse_float=_number if odd else None,
        )
        _check_depth(value)
    except json.JSONDecodeError as why:
        raise error(
            f"{where}: line {first_line + why.lineno - 1}, column {why.colno}: not JSON: {_said(why, text)}"
        ) from None
    except RecursionError:
        raise error(f"{where}: {_TOO_DEEP}") from None
    except _Refused as why:
        line = _line_of(why.token, text)
        raise error(f"{where}: {f'line {first_line + line - 1}: ' if line else ''}{why}") from None
    return _whole_text(value, where) if repair and _HALF.search(text) else value


def parse_toml(text: str, where: str, error: type[HarnessError] = UsageError) -> dict[str, Any]:
    """The tables of a TOML text, strictly; only values that JSON can hold.

    Raises:
        error: it is not TOML, or exceeds the limits.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as why:
        raise error(f"{where}: is not TOML: {why}") from None
    except RecursionError:
        raise error(f"{where}: {_TOO_DEEP}") from None
    except ValueError as why:
        # int() refuses numbers with too many digits before tomllib can say where they are.
        raise error(f"{where}: is not TOML: a number in it cannot be read ({why})") from None
    return dict(within_limits(tables, where, error))


def within_limits(value: Any, where: str, error: type[HarnessError] = UsageError) -> Any:
    """The same value, if JSON can hold it and it is within the limits; its strings are repaired.

    Raises:
        error: JSON cannot hold it, or it exceeds the limits; the message gives the path within the value.
    """
    level: list[tuple[str, Any]] = [("", value)]
    for _ in range(MAX_DEPTH + 1):
        below: list[tuple[str, Any]] = []
        for place, part in level:
            said_at = f"{where}: {place}" if place else where
            if isinstance(part, Mapping):
                if not all(isinstance(key, str) for key in part):
                    raise error(f"{said_at}: every key must be a string")
                if any(len(key) > MAX_KEY for key in part):
                    raise error(f"{said_at}: {_LONG_KEY}")
                below += [(f"{place}.{key}" if place else str(key), item) for key, item in part.items()]
            elif isinstance(part, list | tuple):
                below += [(f"{place}[{at}]", item) for at, item in enumerate(part)]
            elif isinstance(part, int) and not -MAX_WHOLE <= part < MAX_WHOLE:
                raise error(f"{said_at}: an integer that does not fit in 64 bits")
            elif isinstance(part, float) and not (math.isfinite(part) and abs(part) <= MAX_NUMBER):
                raise error(f"{said_at}: {part} cannot be used; numbers must be finite and at most 1e100")
            elif part is not None and not isinstance(part, str | int | float):
                raise error(f"{said_at}: a {type(part).__name__} cannot be used here; write it as text, in quotes")
        if not below:
            return _whole_text(value, where)
        level = below
    raise error(f"{where}: {_TOO_DEEP}")


def conform(
    model: type[_Model], value: Any, where: str, error: type[HarnessError] = UsageError, *, field: str = ""
) -> _Model:
    """A value validated as a pydantic model (or as any type that pydantic knows).

    Args:
        field: the path of the value within its file; messages append the path of the field at fault.

    Raises:
        error: it does not conform, as ``where, field a.b[3].c: what is wrong``.
    """
    from pydantic import ValidationError

    try:
        checked: _Model = _adapter(cast("Hashable", model)).validate_python(value)
        return checked
    except ValidationError as why:
        first = why.errors(include_url=False)[0]
        path = field + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
        place = f", field {path.lstrip('.')}" if path else ""
        raise error(f"{where}{place}: {plain(first['type'], first['msg'])}") from None


_LONG_KEY = f"a key longer than {MAX_KEY} characters"
_TOO_DEEP = f"nested more than {MAX_DEPTH} levels deep"


@cache
def _adapter(model: Hashable) -> Any:
    """A file may have many thousands of lines of one model, and making this takes longer than checking a line."""
    from pydantic import TypeAdapter

    return TypeAdapter(cast("Any", model))


def plain(kind: str, message: str) -> str:
    """A message of pydantic in the words of this harness; ``kind`` is pydantic's error type."""
    if kind == "missing":
        return "is missing"
    if kind == "too_short":
        return "is empty"
    return message.removeprefix("Value error, ")


def _beside(path: Path | Traversable) -> str:
    if not isinstance(path, Path):
        return ""
    try:
        return nearest(path.name, [item.name for item in path.parent.iterdir()])
    except (OSError, ValueError):
        return ""


def _constant(name: str) -> Any:
    raise _Refused(f"{name} is not a JSON number and not a measurement; correct it, or write null", name)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if any(len(name) > MAX_KEY for name in made):
        raise _Refused(_LONG_KEY)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _Refused(f"the key {twice!r:.80} occurs twice in one object; remove one")
    return made


def _whole(digits: str) -> int:
    if len(digits) > 20 or not -MAX_WHOLE <= (number := int(digits)) < MAX_WHOLE:
        raise _Refused(f"the integer {_short(digits)} does not fit in 64 bits", digits)
    return number


def _number(digits: str) -> float:
    number = float(digits)
    if not abs(number) <= MAX_NUMBER:
        raise _Refused(f"the number {_short(digits)} is too large; the largest allowed is 1e100", digits)
    return number


def _short(digits: str) -> str:
    return digits if len(digits) <= 24 else f"{digits[:20]}... ({len(digits)} characters)"


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            item
            for part in level
            if isinstance(part, dict | list)
            for item in (part.values() if isinstance(part, dict) else part)
            if isinstance(item, dict | list)
        ]
        if not level:
            return
    raise _Refused(_TOO_DEEP)


def _line_of(token: str, text: str) -> int:
    """The line, from 1, of the first such token outside strings; 0 where it is not known."""
    for found in _TOKEN.finditer(text) if token else ():
        if found[0] == token:
            return text.count("\n", 0, found.start()) + 1
    return 0


def _said(why: json.JSONDecodeError, text: str) -> str:
    if not text.strip():
        return "it is empty"
    cut_off = why.msg.startswith("Unterminated") or why.pos >= len(text.rstrip()) - 1
    return f"the file is cut off ({why.msg})" if cut_off else why.msg


def _whole_text(value: Any, where: str) -> Any:
    value, count = repaired(value)
    if count:
        _log.warning("%s: %s", where, said(count, "its text"))
    return value
