"""Encodes records of :mod:`harness.api` as JSON and back, and computes the digests that name things by content."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from harness import api

_TAG = "$"
_KINDS: dict[str, type] = {
    cls.__name__: cls
    for cls in (
        api.State, api.Query, api.Episode, api.Request, api.Completion, api.Example, api.Preference, api.Rollout,
        api.Recipe, api.MemoryOps, api.Delta, api.Distillation, api.SelfEdit, api.UpdateJob, api.Updated, api.Ask,
        api.Score, api.Reward,
        api.EditAsk, api.Group, api.Round, api.TrialJob,
    )
}  # fmt: skip


def encode(value: Any) -> Any:
    """A record, or a list, mapping or scalar, nested, as plain JSON values.

    Raises:
        TypeError: a value that JSON cannot hold.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {_TAG: type(value).__name__, **fields}
    if isinstance(value, Mapping):
        if _TAG in value:
            raise TypeError(f"a JSON object may not have the key {_TAG!r}")
        return {_text_key(key): encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(item) for item in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise TypeError(f"{type(value).__name__} is not a JSON value: {value!r:.80}")


def _text_key(key: object) -> str:
    if not isinstance(key, str):
        raise TypeError(f"keys of a JSON object must be strings, not {type(key).__name__}: {key!r}")
    return key


def decode(value: Any) -> Any:
    """The inverse of :func:`encode`. A list in a record's field becomes a tuple, one in any other JSON stays a list."""
    if isinstance(value, dict):
        if _TAG not in value:
            return {key: decode(item) for key, item in value.items()}
        cls = _KINDS[value[_TAG]]
        known = {f.name for f in dataclasses.fields(cls)}
        return cls(**{key: _as_field(item) for key, item in value.items() if key in known})
    if isinstance(value, list):
        return [decode(item) for item in value]
    return value


def _as_field(value: Any) -> Any:
    return tuple(_as_field(item) for item in value) if isinstance(value, list) else decode(value)


def canonical(value: Any) -> str:
    """JSON text that is the same for equal values: sorted keys, no spaces.

    Raises:
        ValueError: NaN or an infinity.
    """
    return json.dumps(encode(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """160 bits of SHA-256 over :func:`canonical`, in hexadecimal."""
    return hashlib.sha256(canonical(value).encode("utf-8", "surrogatepass")).hexdigest()[:40]


def derive_seed(root: int, *name: object) -> int:
    """A seed in [0, 2**31) that depends only on the root seed and the name."""
    text = canonical([root, [part if isinstance(part, (int, str)) else str(part) for part in name]])
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:4], "big") >> 1
