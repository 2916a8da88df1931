"""The settings of a LoRA fine-tune, under the names that configurations use. Imports nothing heavy."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

from harness.api import JSON, EditFailed
from harness.errors import UsageError, nearest
from harness.registry.settings import check_settings


@dataclass(frozen=True)
class TrainSettings:
    """A LoRA fine-tune. Defaults: SEAL's single-passage update (arXiv 2506.10943, appendix B), save ``pad_loss``."""

    rank: int = 32
    alpha: float = 64.0
    """The adapter's output is scaled by ``alpha / rank``."""
    targets: str | tuple[str, ...] = "qv"
    """``qv`` (query and value projections), ``all-linear`` (all but the output head), or a list of module suffixes."""
    learning_rate: float = 1e-3
    epochs: int = 10
    batch_size: int = 1
    grad_accumulation: int = 1
    weight_decay: float = 0.0
    clip: float = 1.0
    """Largest norm of an adapter's gradient; 0 is none."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """``linear`` and ``cosine`` decay to 0."""
    warmup_steps: int = 0
    keep_optimizer: bool = False
    """Whether Adam's moments and step count are stored with the adapter (three times its size in all), so that an
    update which continues it goes on with them. The schedule begins anew with every update."""
    pad_loss: Literal["reference", "single_eos", "none"] = "single_eos"
    """What follows a sequence: one end-of-text token in the loss, none, or, as the published code has it, end-of-text
    tokens up to ``max_length``, all in the loss."""
    pad_nodes: int = 32
    """How many positions of a ``reference`` padding are computed a step, to estimate all of them without bias; a number
    of at least ``max_length`` computes every one."""
    loss_on: Literal["target", "all"] = "target"
    """Whether prompts are in the loss too."""
    max_length: int = 2048
    """Tokens of the longest sequence; a longer one fails its edit. The model's own limit holds as well."""


def train_settings(settings: JSON, where: str) -> TrainSettings:
    """Settings from a job's JSON.

    Raises:
        UsageError: a key that does not exist.
        EditFailed: a value that cannot be trained with.
    """
    known = [field.name for field in dataclasses.fields(TrainSettings)]
    for key in settings:
        if key not in known:
            raise UsageError(f"{where}: no such training setting {key!r}.{nearest(key, known)}")
    try:
        found = check_settings(TrainSettings, settings, where, "training")
    except (UsageError, ValueError) as error:
        raise EditFailed(f"settings: {error}") from error
    assert isinstance(found, TrainSettings)
    check_ranges(found)
    return found


def check_ranges(settings: TrainSettings) -> None:
    """Raises :class:`EditFailed`, naming the setting and what it may be, for a value that cannot be trained with."""
    least = {
        "rank": 1, "epochs": 1, "batch_size": 1, "grad_accumulation": 1, "warmup_steps": 0, "pad_nodes": 1,
        "max_length": 2, "weight_decay": 0.0, "clip": 0.0,
    }  # fmt: skip
    for name, lowest in least.items():
        value = getattr(settings, name)
        if not lowest <= value < math.inf:
            raise EditFailed(f"settings: {name} must be at least {lowest:g}, not {value!r}")
    for name in ("alpha", "learning_rate"):
        value = getattr(settings, name)
        if not 0 < value < math.inf:
            raise EditFailed(f"settings: {name} must be positive, not {value!r}")
