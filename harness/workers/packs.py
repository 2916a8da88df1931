"""What goes to a worker and comes back: plain values, as bytes."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from harness.api import JSON, Model

_DIGEST = 16
"""Bytes of the digest before every message."""

Op = Literal["generate", "logprobs", "likelihoods", "hidden", "train"]


@dataclass(frozen=True)
class Opening:
    """Which model a worker holds. It is the first message that a worker gets."""

    model: type[Model]
    """Pickled by its module's name, which the worker has to be able to import."""
    settings: Any
    place: str
    """``cpu``, ``cuda:1``: the model's setting ``device``, where it has one."""


@dataclass(frozen=True)
class Facts:
    """What a worker says of itself when it has opened the model."""

    base: str
    identity: JSON
    environment: JSON
    """:func:`harness.books.environment.describe_environment`."""
    memory: JSON | None
    """The batch limits that it works under."""
    threads: int


@dataclass(frozen=True)
class Pack:
    """One call of a model's method. Running it twice gives the same, and leaves nothing behind."""

    op: Op
    items: Sequence[Any]
    """The method's argument."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Its keyword arguments."""


@dataclass(frozen=True)
class Work:
    """A pack with the weights that its states name and that the worker does not hold."""

    pack: Pack
    weights: Mapping[str, Any]


@dataclass(frozen=True)
class Done:
    """What a worker made of a pack."""

    results: list[Any]
    seconds: float
    """That the model's call took there."""
    reduced: bool = False
    """Whether memory ran out and batches were made smaller: sound, but rounded otherwise than elsewhere."""
    dropped: tuple[str, ...] = ()
    """Weights that the worker gave up to make room."""


@dataclass(frozen=True)
class Broken:
    """The model raised what is no answer: the worker is not to be trusted with another pack."""

    reason: str


def dumps(value: Any) -> bytes:
    """Bytes of a message, behind their digest; weights go as safetensors.

    Raises:
        pickle.PicklingError, TypeError, AttributeError: something in it cannot leave the process.
    """
    into = io.BytesIO()
    _Pickler(into, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
    message = into.getvalue()
    return _digest(message) + message


def loads(message: bytes) -> Any:
    """The value of a message, which must come from a process of the run's own.

    Raises:
        ValueError: it is not the message that was sent.
    """
    digest, rest = message[:_DIGEST], message[_DIGEST:]
    if digest != _digest(rest):
        raise ValueError(f"a message of {len(message)} bytes is not what was sent")
    return pickle.loads(rest)


def _digest(message: bytes) -> bytes:
    return hashlib.blake2b(message, digest_size=_DIGEST).digest()


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        if type(value) is MappingProxyType:
            return dict, (dict(value),)
        # Imported only where tensors are: a driver that asks a remote model never loads torch.
        if type(value).__module__ in ("harness.engine.adapter", "harness.books.artefacts"):
            from harness.books.artefacts import FullWeights, artefact_bytes, artefact_of
            from harness.engine import Adapter

            if isinstance(value, Adapter | FullWeights):
                return artefact_of, (artefact_bytes(value),)
        return NotImplemented
