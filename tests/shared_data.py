"""Where tests find real data that is not ours to ship: ``$HARNESS_SHARED_DATA``, else ``../shared/data``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def shared(path: str) -> Path:
    """The file or folder ``path`` of the shared data; skips the calling test, with the reason, where it is absent."""
    root = Path(os.environ.get("HARNESS_SHARED_DATA") or Path(__file__).parents[2] / "shared" / "data")
    found = root / path
    if not found.exists():
        pytest.skip(f"shared data not found: {found} (set HARNESS_SHARED_DATA to the folder that holds {path})")
    return found
