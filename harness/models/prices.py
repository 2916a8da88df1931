"""Prices of remote models' tokens, from a dated table that a user's own file overrides."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UsageError
from harness.reading import parse_toml, read_text, user_path
from harness.reads import untracked

MOST = 1e6
"""The highest price accepted, in US dollars per million tokens: a dollar per token."""
_TABLE = Path(__file__).with_name("prices.toml")
# The date that providers append to a model's name to pin it: gpt-4.1-2025-04-14, some-model-20250929.
_DATED = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{8})$")


@dataclass(frozen=True)
class Price:
    """Prices in US dollars per million tokens. Raises ValueError for one that is not in 0..:data:`MOST`."""

    input: float
    output: float

    def __post_init__(self) -> None:
        for price in (self.input, self.output):
            if not 0.0 <= price <= MOST:
                raise ValueError(f"the price {price} is not in US dollars per million tokens, 0 to {MOST:,.0f}")

    def usd(self, prompt_tokens: int, completion_tokens: int) -> float:
        """The price of one call in US dollars."""
        return (prompt_tokens * self.input + completion_tokens * self.output) / 1e6


def price_of(model: str, table: str = "") -> Price | None:
    """The price of a model, or None where the table has none.

    Args:
        model: the provider's name of it, with or without a date.
        table: a TOML file in the format of ``prices.toml``; "" for the table that ships with the package.

    Raises:
        UsageError: the file cannot be read, or has another format.
    """
    path = user_path(table) if table else _TABLE
    with untracked():  # what an answer costs does not change it
        content = parse_toml(read_text(path, where=f"price table {path}"), f"price table {path}")
    try:
        models = {
            str(name): Price(_number(price["input"]), _number(price["output"]))
            for name, price in content["models"].items()
        }
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UsageError(
            f"price table {path}: {error!r}; it needs models.NAME = {{ input = ..., output = ... }}, each 0 or more"
        ) from error
    return models.get(model) or models.get(undated(model))


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r:.40} is not a number")
    return float(value)


def undated(model: str) -> str:
    """A model's name without the date that providers append."""
    return _DATED.sub("", model)
