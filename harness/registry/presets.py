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


def presets_of(package: str, *names: str) -> dict[str, JSON]:
    """A method's presets from the files ``PRESET.NAME.toml`` of a package, each of the first name that has one; a file
    ``PRESET.toml``, if there is one, lies under it."""
    found = presets(package)
    out: dict[str, JSON] = {}
    for preset in dict.fromkeys(file.rsplit(".", 1)[0] for file in found):
        own = next((found[f"{preset}.{name}"] for name in names if f"{preset}.{name}" in found), None)
        if own is not None:
            out[preset] = on_top(found.get(preset, {}), own)
    return out


def on_top(under: JSON, over: JSON) -> dict[str, JSON]:
    """``over`` on top of ``under``, setting by setting within the tables that both have."""
    both = {
        name: {**under[name], **table}
        for name, table in over.items()
        if isinstance(table, Mapping) and isinstance(under.get(name), Mapping)
    }
    return {**under, **over, **both}
