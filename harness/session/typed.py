"""Whether the records that a plugin made hold in their fields what the contract says. Lists pass for tuples."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

_Check = Callable[[Any], bool]


def fault(record: Any, but: Collection[str] = ()) -> str:
    """What is wrong with the first field that is not as :mod:`harness.api` has it, records inside it included; "" where
    nothing is.

    Args:
        record: of a dataclass of the contract.
        but: fields that are not looked at.
    """
    for name, said, right in _fields(record.__class__):
        value = getattr(record, name)
        if name not in but and not right(value):
            return f"the field {name} of {type(record).__name__} is {value!r:.60}, and must be {said}"
    return ""


@cache
def _fields(cls: Any) -> tuple[tuple[str, str, _Check], ...]:
    """Name, type in words, and check of every field."""
    hints = get_type_hints(cls)
    return tuple((one.name, str(one.type), _check(hints[one.name])) for one in dataclasses.fields(cls))


@cache
def _check(hint: Any) -> _Check:
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return lambda value: True
    if origin is Literal:
        return lambda value: isinstance(value, str) and value in inner
    if origin in (Union, types.UnionType):
        either = [_check(one) for one in inner]
        return lambda value: any(one(value) for one in either)
    if origin is tuple or origin is Sequence:
        return _listed(inner)
    if origin is Mapping:
        of = _check(inner[1])
        return lambda value: (
            isinstance(value, Mapping) and all(isinstance(key, str) and of(one) for key, one in value.items())
        )
    if hint is float:
        return lambda value: isinstance(value, int | float)
    kind: type = hint
    if dataclasses.is_dataclass(kind):
        return lambda value: isinstance(value, hint) and not fault(value)
    return lambda value: isinstance(value, kind)


def _listed(inner: Sequence[Any]) -> _Check:
    if (len(inner) == 2 and inner[1] is Ellipsis) or len(inner) == 1:
        of = _check(inner[0])
        return lambda value: isinstance(value, list | tuple) and all(map(of, value))
    each = [_check(one) for one in inner]
    return lambda value: (
        isinstance(value, list | tuple)
        and len(value) == len(each)
        and all(of(one) for of, one in zip(each, value, strict=True))
    )
