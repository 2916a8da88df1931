"""Files written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from harness.text import writable


def write_text(where: Path, text: str) -> Path:
    """Write a text file atomically; nothing half-written is left behind when it fails.

    What UTF-8 cannot hold is replaced (:mod:`harness.text`): by now it is too late to refuse it.
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
