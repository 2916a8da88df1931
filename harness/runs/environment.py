"""What a run ran on: versions, hardware, commit. Recorded with every result; never part of a key."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from typing import Any

_PACKAGES = ("selfadapt-harness", "torch", "transformers", "peft", "numpy")


def describe_environment() -> dict[str, Any]:
    """Versions, processor, accelerator and commit, as far as they can be had."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "versions": versions,
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "accelerator": _accelerator(),
        "commit": _commit(),
    }


def _accelerator() -> str | None:
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None


def _commit() -> str | None:
    here = os.path.dirname(os.path.abspath(__file__))
    try:
        done = subprocess.run(
            ["git", "-C", here, "rev-parse", "--short=12", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
