"""Files that are written completely or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from harness.text import writable


def write_text(where: Path, text: str) -> Path:
    """Write a text file atomically, and return its path; nothing half-written is left behind when that fails.

    What UTF-8 cannot encode is replaced (:mod:`harness.text`): by now it is too late to refuse it.
    """
    handle, temporary = tempfile.mkstemp(dir=where.parent, prefix=f".{where.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(writable(text))
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, where)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return where
