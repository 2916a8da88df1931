"""What decides the bits of a run besides its configuration: versions, processor, device.

Numbers computed under one of these are never mixed with numbers computed under another.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def comparable(environment: Mapping[str, Any]) -> dict[str, str]:
    """The part of a described environment on which results may depend, by name.

    The commit says nothing that the sources' digests do not say better; of Python, bug-fix releases compute alike.
    """
    python = ".".join(str(environment.get("python", "")).split(".")[:2])
    versions = {str(name): str(version) for name, version in environment.get("versions", {}).items()}
    rest = {name: str(environment.get(name) or "none") for name in ("system", "processor", "accelerator")}
    return {**versions, "Python": python, **rest}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """``torch 2.12.0, now 2.13.0``: one text for everything comparable that differs."""
    old, new = comparable(before), comparable(now)
    return [
        f"{name} {old.get(name, 'none')}, now {new.get(name, 'none')}"
        for name in sorted({*old, *new})
        if old.get(name, "none") != new.get(name, "none")
    ]
