"""Reads prompts from TOML files with one entry per prompt, packaged with a plugin or supplied by the user.

An entry is raw text (``entities = "..."``, for base models), or a table with ``base`` (raw text) and ``instruct``
(``system`` and ``user`` turns). Placeholders such as ``{title}`` are replaced literally, and the inserted text is not
searched for more; any other brace stands for itself.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from harness.api import Prompt
from harness.errors import UsageError, nearest
from harness.reading import parse_toml, read_text, user_path


@dataclass(frozen=True)
class PromptForm:
    """One prompt, in the forms that its file gives for it."""

    where: str
    """File and key, for messages."""
    base: str = ""
    system: str = ""
    user: str = ""
    extras: Mapping[str, str] = field(default_factory=dict)
    """Further strings of the entry, for the component that uses it."""

    @property
    def digest(self) -> str:
        """Eight digits that change with the words."""
        words = "\0".join((self.base, self.system, self.user))
        return hashlib.sha256(words.encode("utf-8", "surrogatepass")).hexdigest()[:8]

    def fill(self, values: Mapping[str, str], *, chat: bool) -> Prompt:
        """The prompt with its placeholders replaced: turns for an instruct model, else raw text.

        Raises:
            UsageError: the file has no such form of the prompt.
        """
        if not (self.user if chat else self.base):
            form = "instruct" if chat else "base"
            raise UsageError(f"{self.where}: has no {form!r} form, which this model needs")
        if not chat:
            return _filled(self.base, values)
        turns = (("system", _filled(self.system, values)), ("user", _filled(self.user, values)))
        return turns if self.system else turns[1:]


def load(source: str, key: str, needs: Collection[str] = ()) -> PromptForm:
    """A prompt by its key.

    Args:
        source: ``package:path/in/package.toml``, or the path of a user's own file.
        needs: placeholders that every form of it must have.

    Raises:
        UsageError: no such file or key, a malformed entry, or a form that lacks a placeholder.
    """
    content = _read(source)
    entries = {name: entry for name, entry in content.items() if name != "version"}
    if key not in entries:
        raise UsageError(f"{source}: no prompt {key!r}.{nearest(key, entries)}")
    entry = entries[key]
    instruct = entry.get("instruct", {}) if isinstance(entry, Mapping) else {}
    texts: dict[str, Any] = {
        "base": entry if isinstance(entry, str) else entry.get("base", "") if isinstance(entry, Mapping) else None,
        "system": instruct.get("system", "") if isinstance(instruct, Mapping) else None,
        "user": instruct.get("user", "") if isinstance(instruct, Mapping) else None,
    }
    for name, text in texts.items():
        if not isinstance(text, str):
            raise UsageError(f"{source}: prompt {key!r}, {name}: must be a string")
        lacks = [f"{{{mark}}}" for mark in sorted(needs) if f"{{{mark}}}" not in text]
        if name != "system" and text and lacks:
            raise UsageError(f"{source}: prompt {key!r}, {name}: lacks the placeholder {lacks[0]}")
    fields = entry.items() if isinstance(entry, Mapping) else ()
    extras = {name: text for name, text in fields if name not in texts and isinstance(text, str)}
    return PromptForm(f"{source}: prompt {key!r}", **texts, extras=extras)


def _read(source: str) -> Mapping[str, Any]:
    package, sign, inside = source.partition(":")
    try:
        # A drive letter ("C:\...") is not a package.
        packaged = bool(sign) and package.isidentifier() and len(package) > 1
        path = files(package).joinpath(inside) if packaged else user_path(source)
    except ModuleNotFoundError as why:
        raise UsageError(f"prompt file {source} cannot be read: {why}") from why
    where = f"prompt file {source}"
    return _parsed(read_text(path, where=where), where)  # read every time, so that harness.reads notes it


@cache
def _parsed(text: str, where: str) -> Mapping[str, Any]:
    return parse_toml(text, where)


def _filled(template: str, values: Mapping[str, str]) -> str:
    if not values:
        return template
    names = "|".join(re.escape(name) for name in values)
    return re.sub(rf"\{{({names})\}}", lambda found: values[found[1]], template)
