"""Reads presets from the TOML files in a package's folder ``presets``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType

from harness.api import JSON


def presets(package: str) -> Mapping[str, JSON]:
    """The value of :attr:`harness.api.Method.presets`: file name without ``.toml`` -> its tables, sorted by name."""
    found = sorted(files(package).joinpath("presets").iterdir(), key=lambda item: item.name)
    return MappingProxyType(
        {
            item.name.removesuffix(".toml"): tomllib.loads(item.read_text("utf-8"))
            for item in found
            if item.name.endswith(".toml")
        }
    )
