"""What the commands of all embedded models do alike: export a run, print a card."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from harness.errors import UsageError


def export(run: Path, out: Path, write: Callable[[Path, Path], None]) -> None:
    """Write a run's newest checkpoint as a model folder.

    Raises:
        UsageError: the folder holds no checkpoint.
    """
    from harness_lab.pretraining.course import CHECKPOINT

    if not (run / CHECKPOINT).is_file():
        raise UsageError(f"{run / CHECKPOINT}: no such file; the first checkpoint is written after some minutes")
    write(run / CHECKPOINT, out)


def show(figures: Mapping[str, str], as_json: bool, width: int) -> None:
    """Print a card's figures, one per line or as JSON."""
    if as_json:
        print(json.dumps(figures, indent=1))
        return
    for name, value in figures.items():
        print(f"{name:{width}s} {value}")
