"""The events that observers receive: frozen records of plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.api import Round


@dataclass(frozen=True)
class RunStarted:
    """The run's folder exists and its configuration is resolved."""

    folder: Path
    config: Mapping[str, Any]


@dataclass(frozen=True)
class RoundFinished:
    """One round of a method's outer loop is over, and its checkpoint is safe on disk."""

    folder: Path
    method: str
    seed: int
    round: Round
    validation: float | None
    """Macro score on the validation split in [0, 1]; None where it was not measured."""


@dataclass(frozen=True)
class RunFinished:
    """All rows are known, and the leaderboard file is written."""

    folder: Path
    rows: Sequence[Mapping[str, Any]]
    """Leaderboard rows, as in the file that was written."""
