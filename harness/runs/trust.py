"""Signatures of runs' records with a key of the user's, which tell the user's own runs from those of others.

``resume``, ``export`` and ``gate --confirm`` do what a run's ``config.json`` says. Where it names code to run, or an
address to send the user's API key to, a record that this user did not write on this machine is refused unless
``--trust`` is given. The signing key is made once, in ``~/.local/state/selfadapt-harness`` (or under
``$XDG_STATE_HOME``), and never leaves it; where it cannot be kept, every such run asks.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.books.records import canonical
from harness.errors import UsageError

_SIGNATURE = "signature"


def signed(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with its signature; without one where it needs no trust, or no key can be kept."""
    key = _key() if any(_asks(record)) else b""
    return {**record, _SIGNATURE: _sign(key, record)} if key else dict(record)


def check_trust(folder: Path, record: Mapping[str, Any], trust: bool) -> None:
    """Refuse a record that needs trust and was not written by this user.

    Raises:
        UsageError: the record names code or addresses, and is not signed by this user.
    """
    asked = next(_asks(record), "")
    if trust or not asked:
        return
    key = _key()
    if key and hmac.compare_digest(str(record.get(_SIGNATURE, "")), _sign(key, record)):
        return
    raise UsageError(
        f"{folder} was made elsewhere, and its config.json names {asked}; add --trust where you know what that does"
    )


def _asks(record: Mapping[str, Any]) -> Iterator[str]:
    """What a record would have done that a stranger's record must not do unasked."""
    yield from (f"the plugin file {file}, which would be run" for file in record.get("plugin_files", ()))
    for key, value in _settings(record.get("given", {})):
        if key == "trust_remote_code" and value:
            yield "a model whose own code would be run (trust_remote_code)"
        if key == "base_url":
            yield f"the address {value}, to which your API key would be sent"
        if key == "judge" and "@http" in str(value):
            yield f"the judge {value}, to which your API key would be sent"


def _settings(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from value.items()
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _settings(inner)


def _sign(key: bytes, record: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in record.items() if name != _SIGNATURE}
    return hmac.new(key, canonical(rest).encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def _key() -> bytes:
    """The user's key, made when it is first needed; empty where none can be kept."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    path = Path(state) / "selfadapt-harness" / "key"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            # Written beside it and linked into place, so that two processes agree on one complete key.
            new = path.with_name(f".key.{os.getpid()}")
            new.write_bytes(secrets.token_bytes(32))
            new.chmod(0o600)
            try:
                if not path.exists():
                    os.link(new, path)
            finally:
                new.unlink()
        return path.read_bytes()
    except OSError:
        return b""
