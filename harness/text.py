"""Text that no encoding can write: one policy, applied wherever text enters the harness.

A Python string may hold lone surrogates, which UTF-8 cannot encode. They come from JSON escapes such as ``"\\ud83d"``
and from models that are cut off inside an emoji. They are replaced by U+FFFD, as decoders of damaged text do, where
text comes in (tasks, answers of models, what components return, recorded edits, configurations), and counted. So a
lone surrogate never stops a run, and is never blamed on the code that happens to write the text out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

_Value = TypeVar("_Value")

REPLACED = "replaced"
"""The key, among an item's costs, that counts the characters replaced in it."""


def writable(text: str) -> str:
    """The text with surrogate pairs joined into characters, and every lone surrogate replaced by U+FFFD."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def repaired(value: _Value) -> tuple[_Value, int]:
    """A value with :func:`writable` applied to every string in it, and the number of characters replaced.

    Args:
        value: strings, dataclass instances, mappings, lists and tuples, nested; anything else stays as it is. A part
            that needs no repair is returned itself, not copied.
    """
    count = 0

    def walk(part: Any) -> Any:
        nonlocal count
        if isinstance(part, str):
            new = writable(part)
            count += new.count("\ufffd") - part.count("\ufffd") if new is not part else 0
            return new
        if isinstance(part, list | tuple):
            items = [walk(item) for item in part]
            if all(new is old for new, old in zip(items, part, strict=True)):
                return part
            return items if isinstance(part, list) else tuple(items)
        if isinstance(part, Mapping):
            pairs = [(walk(key), walk(item)) for key, item in part.items()]
            if all(new is old and item is part[old] for (new, item), old in zip(pairs, part, strict=True)):
                return part
            return dict(pairs)
        if dataclasses.is_dataclass(part) and not isinstance(part, type):
            now = {field.name: getattr(part, field.name) for field in dataclasses.fields(part) if field.init}
            new_fields = {name: walk(item) for name, item in now.items()}
            moved = {name: item for name, item in new_fields.items() if item is not now[name]}
            return dataclasses.replace(part, **moved) if moved else part
        return part

    return walk(value), count


def said(count: int, where: str) -> str:
    """The remark that so many characters were replaced."""
    return f"{count} character{'s' if count > 1 else ''} of {where} replaced by U+FFFD: not valid Unicode"
