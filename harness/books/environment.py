"""The environment of a run: versions, hardware, commit. Recorded with every result, and never part of the conditions.

:mod:`harness.books.world` says which parts of it must stay the same while a run lasts.
"""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from typing import Any

_PACKAGES = ("selfadapt-harness", "torch", "transformers", "tokenizers", "peft", "numpy")


def describe_environment() -> dict[str, Any]:
    """Versions, processor, accelerator and commit, as far as they are known."""
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
        "processor": _processor(),
        "cpus": os.cpu_count(),
        "accelerator": _accelerator(),
        "commit": _commit(),
    }


def _processor() -> str:
    """Vendor and instruction set, which decide the kernels of torch and its libraries: ``AuthenticAMD AVX512``."""
    import torch

    vendor = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            vendor = next((line.split(":")[1].strip() for line in file if line.startswith("vendor_id")), vendor)
    except OSError:
        pass  # not Linux
    return f"{vendor} {torch.backends.cpu.get_cpu_capability()}"


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
