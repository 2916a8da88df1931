"""What the session and a model backend say to each other beyond :class:`harness.api.LM`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from harness.api import JSON, Data, State, Status

if TYPE_CHECKING:
    from harness.engine import Adapter


@dataclass(frozen=True)
class TrainItem:
    """One adapter to train: a job of :meth:`harness.api.Session.fit` with its recipes already expanded."""

    id: str
    start: State
    """Its adapters are frozen beneath the new one, save a last one that is continued."""
    data: Sequence[Data]
    seed: int
    settings: JSON = field(default_factory=dict)
    """Complete hyper-parameters, named as in :class:`harness.models.train_settings.TrainSettings`."""
    start_as: Literal["stack", "continue"] = "stack"
    """A new adapter, or the last one of ``start`` trained on; see :attr:`harness.api.UpdateJob.start_as`."""


@dataclass(frozen=True)
class Trained:
    """What became of an item. ``adapter`` is None unless ``status`` is ``ok``."""

    id: str
    adapter: Adapter | None
    status: Status = "ok"
    reason: str = ""
    log: JSON = field(default_factory=dict)
    """``steps``, ``tokens``, ``seconds``, ``loss`` (last step's mean); ``cause`` where the status is not ``ok``."""


class WeightSource(Protocol):
    """What a model needs of the session's weight store."""

    def adapter(self, digest: str) -> Any:
        """The artefact of that digest: a LoRA adapter, or all weights of a full fine-tune."""
        ...
