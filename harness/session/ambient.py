"""What of the process a plugin's code may not leave changed, as every later row would be computed otherwise.

Not the number of threads, which a model sets where it is loaded, nor random generators, of which the core uses no
global one.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_log = logging.getLogger("harness")


@contextmanager
def put_back(who: str) -> Iterator[None]:
    """Afterwards the working folder, torch's default dtype and its gradient mode are what they were.

    Args:
        who: whose code it is, for the warning.
    """
    before = _now()
    try:
        yield
    finally:
        changed = [name for name, value in _now().items() if before.get(name, value) != value]
        for name in changed:
            _set(name, before[name])
        if changed:
            _log.warning("%s left %s changed; it was put back", who, " and ".join(changed))


def _now() -> dict[str, Any]:
    found: dict[str, Any] = {}
    try:
        found["the working folder"] = os.getcwd()
    except FileNotFoundError:  # it was removed
        found["the working folder"] = None
    if torch := sys.modules.get("torch"):
        found["torch's default dtype"] = torch.get_default_dtype()
        found["torch's gradient mode"] = torch.is_grad_enabled()
    return found


def _set(name: str, value: Any) -> None:
    if name == "the working folder":
        if value is not None:
            os.chdir(value)
    elif name == "torch's default dtype":
        sys.modules["torch"].set_default_dtype(value)
    else:
        sys.modules["torch"].set_grad_enabled(value)
