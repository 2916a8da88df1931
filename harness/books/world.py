"""The environment on which the bits of a run's results depend, besides its configuration: versions, processor, device.

Results computed in one environment are never mixed with those of another.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def comparable(environment: Mapping[str, Any]) -> dict[str, str]:
    """The part of a described environment on which results may depend, by name.

    The commit is left out because the digests of the sources cover it; of Python, the bug-fix release is left out.
    """
    python = ".".join(str(environment.get("python", "")).split(".")[:2])
    versions = {str(name): str(version) for name, version in environment.get("versions", {}).items()}
    rest = {name: str(environment.get(name) or "none") for name in ("system", "processor", "accelerator")}
    return {**versions, "Python": python, **rest}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """One text, such as ``torch 2.12.0, now 2.13.0``, for each comparable value that differs."""
    old, new = comparable(before), comparable(now)
    return [
        f"{name} {old.get(name, 'none')}, now {new.get(name, 'none')}"
        for name in sorted({*old, *new})
        if old.get(name, "none") != new.get(name, "none")
    ]
