"""What all rows of a run share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from harness import reads
from harness.api import Model
from harness.books.episodes import EpisodeBook
from harness.books.journal import Journal
from harness.books.store import WeightStore
from harness.session.packs import PackSizes
from harness.session.progress import Progress
from harness.session.turns import Turns


@dataclass(frozen=True)
class RunContext:
    """The run's folder with its journal and weights, the task's items, and the models that are open."""

    folder: Path
    journal: Journal
    weights: WeightStore
    episodes: EpisodeBook
    models: dict[str, Model]
    """Base digest -> model; grows as models are opened."""
    progress: Progress
    deadline: float = 0.0
    """``time.monotonic()`` at which to stop; 0 for no limit."""
    recompute: bool = False
    """Whether a call that differs from the recorded one replaces it, instead of stopping the run."""
    sources: dict[str, str] = field(default_factory=dict)
    """Base digest -> fingerprint of the model's source: an answer is not reused under a changed backend."""
    readers: dict[str, reads.Reader] = field(default_factory=dict)
    """Base digest -> the files that the model has read."""
    turns: Turns = field(default_factory=Turns)
    """Who goes on while packs are with workers."""
    packs: dict[str, PackSizes] = field(default_factory=dict)
    """Base digest -> how many of the model's jobs share a pack."""
