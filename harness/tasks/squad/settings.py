"""The settings of the task ``squad``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.tasks.squad.hub import REVISION
from harness.tasks.squad.splitter import Splitter

HUB = "hub"


@dataclass(frozen=True)
class SquadSettings:
    """Which passages, and how an edit becomes training sequences."""

    data: str = HUB
    """``hub``, or a file or folder. Alone it is split into train, validation and test by title, 60/20/20."""
    train: str = ""
    """Passages of the outer loop, in a file or folder of their own; then all of ``data`` is the test split."""
    validation: str = ""
    """Passages that choose a checkpoint; without it, a quarter of the training titles does."""
    revision: str = REVISION
    """Commit of ``rajpurkar/squad`` on the hub."""
    subset: str = "shuffled"
    """Which test passages, in which order: a name of :data:`harness.tasks.squad.subsets.SUBSETS`."""
    train_order: Literal["shuffled", "file-order"] = "shuffled"
    splitter: Splitter = "fixed"
    lines: Literal["single", "always", "never"] = "single"
    """Whether each line of an edit is a sequence: ``single`` means not in continued pretraining."""
    cap: int = 30
    """Sequences per edit, without the passage; 0 keeps all."""
    title: bool = True
    """Whether every sequence begins with a line that holds the title."""
    passage: Literal["once-per-completion", "once-per-context", "never"] = "once-per-completion"
    """Whether the passage itself is learnt with each edit, once however many edits of it are, or not at all."""
    max_edit_chars: int = 100_000
    """A longer edit is ``failed``."""
