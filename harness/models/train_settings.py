"""The settings of fine-tunes: the one declaration of their names, ranges and meanings. Imports nothing heavy.

A setting keeps its name and unit all the way: a configuration's table fills an updater's settings, which derive from
these; :meth:`harness.api.Session.fit` takes them as JSON, complete, in ``UpdateJob.settings``; the model checks them
and copies them by name into the engine's ``HyperParameters``, which stand alone and so repeat names and defaults.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Literal

from harness.api import JSON, EditFailed
from harness.errors import UsageError, nearest
from harness.registry.settings import check_settings


@dataclass(frozen=True)
class FitSettings:
    """What every fine-tune has: its optimiser steps, and what of a sequence is in the loss."""

    learning_rate: float = 1e-3
    """AdamW's learning rate, before ``schedule``."""
    epochs: int = 10
    """Passes over the training sequences."""
    batch_size: int = 1
    """Sequences per forward pass of one job."""
    grad_accumulation: int = 1
    """Batches per optimiser step."""
    weight_decay: float = 0.0
    """AdamW's decoupled weight decay."""
    clip: float = 1.0
    """Largest gradient norm of an adapter, or of all weights in a full fine-tune; 0 for no clipping."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """Learning-rate schedule; ``linear`` and ``cosine`` decay to 0."""
    pad_loss: Literal["reference", "single_eos", "none"] = "single_eos"
    """What follows a sequence: one end-of-text token, in the loss (``single_eos``); nothing (``none``); or, as in the
    published code, end-of-text tokens up to ``max_length``, all in the loss (``reference``)."""
    pad_nodes: int = 32
    """Padding positions of ``reference`` that are computed per step, as an unbiased estimate of all of them; with at
    least ``max_length``, every one is computed."""
    pad_to: Literal["max_length", "longest"] = field(default="max_length", metadata={"added_later": True})
    """Where the padding of ``reference`` ends: at ``max_length``, as in SEAL's code for passages, or at the longest
    sequence of the edit, as in its code for ARC."""
    next_header: bool = field(default=False, metadata={"added_later": True})
    """Whether the end of the turn and the header of another, empty answer follow the answer of a conversation, in the
    loss, as in SEAL's code for ARC. Raw texts have no headers."""
    loss_on: Literal["target", "all"] = "target"
    """Whether prompts are in the loss too."""
    max_length: int = 2048
    """The most tokens of a sequence. The model's own limit applies as well."""
    overlong: Literal["fail", "cut"] = "fail"
    """What becomes of a longer sequence: its edit fails, or, as in the published code, its end is cut off. One whose
    prompt alone is too long fails."""


@dataclass(frozen=True)
class TrainSettings(FitSettings):
    """A LoRA fine-tune. The defaults are SEAL's single-passage update (arXiv 2506.10943, appendix B), except
    ``pad_loss``."""

    rank: int = 32
    """Rank of the adapter."""
    alpha: float = 64.0
    """The adapter's output is scaled by ``alpha / rank``."""
    targets: str | tuple[str, ...] = "qv"
    """``qv`` (query and value projections, or a model's fused one), ``all-linear`` (all except the output head), or a
    list of module suffixes."""
    warmup_steps: int = 0
    """Optimiser steps over which the learning rate rises from 0."""
    keep_optimizer: bool = False
    """Whether Adam's moments and step count are stored with the adapter (three times its size in all), so that an
    update that continues it resumes from them. The schedule starts anew with every update."""


def train_settings(settings: JSON, where: str) -> TrainSettings:
    """A job's settings from their JSON; ``where`` names the job in messages.

    Raises:
        UsageError: an unknown key.
        EditFailed: a value of the wrong type or out of range.
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


def check_ranges(settings: FitSettings) -> None:
    """Raises :class:`EditFailed`, naming the setting and its range, for a value that is out of range."""
    least = {
        "rank": 1, "epochs": 1, "batch_size": 1, "grad_accumulation": 1, "warmup_steps": 0, "pad_nodes": 1,
        "max_length": 2, "weight_decay": 0.0, "clip": 0.0,
    }  # fmt: skip
    for name, value in vars(settings).items():
        if name in least and not least[name] <= value < math.inf:
            raise EditFailed(f"settings: {name} must be at least {least[name]:g}, not {value!r}")
        if name in ("alpha", "learning_rate") and not 0 < value < math.inf:
            raise EditFailed(f"settings: {name} must be positive, not {value!r}")
