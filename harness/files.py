"""Files that are written completely or not at all, and folders for them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from harness.errors import UsageError
from harness.text import writable


def made_folder(where: Path, choose: str) -> Path:
    """The folder, made with its parents where it is not there yet; for what takes long and is written at its end.

    Args:
        choose: how the user names another one, such as ``--out``.

    Raises:
        UsageError: it cannot be made, or nothing can be written in it.
    """
    try:
        where.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=where):
            return where
    except OSError as error:
        raise UsageError(
            f"{where}: nothing can be written there: {error.strerror}; choose another folder with {choose}"
        ) from error


def write_text(where: Path, text: str) -> Path:
    """Write a text file atomically, and return its path; nothing half-written is left behind when that fails.

    What UTF-8 cannot encode is replaced (:mod:`harness.text`): by now it is too late to refuse it.

    Raises:
        OSError: it cannot be written; the error names ``where`` and not the temporary file.
    """
    try:
        return _write(where, text)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(where)) from error


def _write(where: Path, text: str) -> Path:
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
