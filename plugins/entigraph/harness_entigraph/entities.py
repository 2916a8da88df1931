"""Pure functions that read (and repair) a model's list of entities, and draw pairs and triples from it."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

How = Literal["ok", "repaired", "fallback"]
"""``ok``: the form asked for; ``repaired``: readable after repair; ``fallback``: the passage's capitalised words."""

_BULLET = re.compile(r"^\s*(?:[-*•]|\d+[.):])\s+")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
_NAME = re.compile(r"\b[^\W\d_]*[A-Z][\w'’-]*(?:\s+[A-Z][\w'’-]*)*")


@dataclass(frozen=True)
class Entities:
    """The names, without duplicates, in the order in which they were listed; the summary, if one was asked for."""

    names: tuple[str, ...]
    summary: str = ""
    how: How = "ok"


def from_json(answer: str, passage: str, most: int) -> Entities:
    """Names and summary of an answer ``{"summary": "...", "entities": ["...", ...]}``.

    Text around the object, commas before a bracket, and an answer that ends too early are repaired. If there is still
    no list of names, the capitalised words of the passage take its place, in their order.
    """
    text = answer[answer.find("{") :] if "{" in answer else ""
    for candidate in (answer, text[: text.rfind("}") + 1], re.sub(r",(\s*[\]}])", r"\1", text[: text.rfind("}") + 1])):
        found = _object(candidate)
        if found is not None:
            names, summary = found
            how: How = "ok" if candidate is answer else "repaired"
            return Entities(_tidy(names, most), summary, how)
    inside = re.search(r'"entities"\s*:\s*\[(.*)', text, re.DOTALL)
    names = [_unescaped(name) for name in _STRING.findall(inside[1].partition("]")[0])] if inside else []
    if _tidy(names, most):
        summary_text = re.search(r'"summary"\s*:\s*"((?:[^"\\]|\\.)*)"', text)
        return Entities(_tidy(names, most), _unescaped(summary_text[1]) if summary_text else "", "repaired")
    return Entities(_tidy(_NAME.findall(passage), most), "", "fallback")


def from_lines(answer: str, passage: str, most: int) -> Entities:
    """The names in an answer with one per line, bulleted or not."""
    names = _tidy([_BULLET.sub("", line) for line in answer.splitlines()], most)
    return Entities(names) if names else Entities(_tidy(_NAME.findall(passage), most), "", "fallback")


def groups(names: Sequence[str], size: int, count: int, seed: int) -> list[tuple[str, ...]]:
    """``count`` unordered groups of ``size`` names, drawn without replacement; all groups if ``count`` is -1."""
    every = list(itertools.combinations(names, size))
    if count < 0 or count >= len(every):
        return every
    return random.Random(seed).sample(every, count)


def names_all(text: str, group: Sequence[str]) -> bool:
    """Whether a text names every entity of its group."""
    low = text.casefold()
    return all(name.casefold() in low for name in group)


def _object(text: str) -> tuple[list[Any], str] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or not isinstance(value.get("entities"), list):
        return None
    names = [name for name in value["entities"] if isinstance(name, str)]
    summary = value.get("summary", "")
    return (names, summary if isinstance(summary, str) else "") if _tidy(names, 1) else None


def _tidy(names: Sequence[str], most: int) -> tuple[str, ...]:
    seen: dict[str, str] = {}
    for name in names:
        name = " ".join(name.split()).strip(" .,;:\"'")
        if any(map(str.isalnum, name)):
            seen.setdefault(name.casefold(), name)
    return tuple(seen.values())[:most]


def _unescaped(text: str) -> str:
    try:
        return str(json.loads(f'"{text}"', strict=False))
    except (ValueError, RecursionError):
        return text
