"""Damage to valid files, as hypothesis strategies: bytes flipped, cut and put in, values replaced, nodes deleted."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

WRONG: tuple[Any, ...] = (
    None, True, 0, -1, 3, 2**63, -(2**70), 0.5, 1e99, -1e308, "", " ", "text", "\x00\x1b[2J", "\ud83d", "~nobody/x",
    "x" * 5000, [], [[]], [1, "a"], {}, {"$": "Nope"}, {"use": 3}, {"a": {"b": [None]}},
)  # fmt: skip
RAW = (
    b"[" * 3000 + b"]" * 3000, b'{"a":' * 2000 + b"1" + b"}" * 2000, b"9" * 5000, b"-" + b"8" * 5000, b"1e999",
    b"NaN", b"-Infinity", b'"\\ud83d"', b"\xff\xfe", b"\x00", b'{"a": 1, "a": 2}', b"nan", b"inf", b"2026-01-01",
    b"0x" + b"f" * 5000, b"[" * 3000,
)  # fmt: skip
"""What the place of a value is overwritten with."""
WHOLE = (b"", b" \n", b"\xef\xbb\xbf", b"null", b"[]", b"{}", b"3", b'"x"', b"[[]]", b"{", b"\xff", *RAW)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all nodes below the root."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for key, item in items for path in ((*at, key), *places(item, (*at, key)))]


def _changed(value: Any, path: tuple[Any, ...], new: Any, delete: bool) -> Any:
    out = copy.deepcopy(value)
    inside = out
    for key in path[:-1]:
        inside = inside[key]
    if delete:
        del inside[path[-1]]
    else:
        inside[path[-1]] = new
    return out


@st.composite
def damaged(draw: st.DrawFn, good: bytes) -> bytes:
    """Bytes of a file, damaged."""
    raw = bytearray(good)
    for _ in range(draw(st.integers(1, 3))):
        at, how = draw(st.integers(0, max(0, len(raw) - 1))), draw(st.integers(0, 3))
        if how == 0 and raw:
            raw[at] ^= 1 << draw(st.integers(0, 7))
        elif how == 1:
            del raw[at : at + draw(st.integers(1, 40))]
        elif how == 2:
            raw[at:at] = draw(st.sampled_from(RAW))
        else:
            raw = raw[:at]
    return bytes(raw)


@st.composite
def damaged_json(draw: st.DrawFn, good: Any, lines: bool = False) -> bytes:
    """A JSON file (or one with a value per line) whose values are replaced or deleted, or whose bytes are damaged."""
    how = draw(st.integers(0, 9))
    if how == 0:
        return draw(st.sampled_from(WHOLE))
    if how <= 2:
        return draw(damaged(_bytes(good, lines)))
    value = good
    for _ in range(draw(st.integers(1, 2))):
        found = places(value)
        if not found:
            break
        delete = draw(st.integers(0, 3)) == 0
        value = _changed(value, draw(st.sampled_from(found)), draw(st.sampled_from(WRONG)), delete)
    if how <= 4:
        marked = _changed(value, draw(st.sampled_from(places(value) or [()])), "@HERE@", False) if places(value) else ""
        return _bytes(marked, lines).replace(b'"@HERE@"', draw(st.sampled_from(RAW)))
    return _bytes(value, lines)


def _bytes(value: Any, lines: bool) -> bytes:
    if lines and isinstance(value, list):
        return "\n".join(json.dumps(item) for item in value).encode()
    return json.dumps(value).encode()
