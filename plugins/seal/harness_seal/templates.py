"""Prompt templates: versioned data files, of which a user may bring one of their own.

A file holds ``version`` and one table for each prompt key: ``base`` is a raw completion prompt, ``instruct`` a system
and a user turn; ``cue`` is what the completion continues, ``marker`` the line that ends reasoning. The placeholders
``{title}`` and ``{text}`` are replaced literally; no other brace means anything.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from harness.api import JSON, Prompt
from harness.errors import UsageError, nearest

_PLACEHOLDER = re.compile(r"\{(title|text)\}")


@dataclass(frozen=True)
class Template:
    """One prompt key of a file."""

    where: str
    """File, version and key, for messages."""
    base: str = ""
    system: str = ""
    user: str = ""
    cue: str = ""
    """Belongs to the text of the edit, though the model did not write it."""
    marker: str = ""
    """Where it begins a line, what stands before it is reasoning and no training text."""

    def prompt(self, context: JSON, *, chat: bool) -> Prompt:
        """The prompt for ``{"title", "text"}``: turns for an instruct model, else raw text.

        Raises:
            UsageError: where the file has no such form of the prompt.
        """
        if not (self.user if chat else self.base):
            form = "instruct" if chat else "base"
            raise UsageError(f"{self.where}: has no {form!r} form, which this model needs")
        if chat:
            turns = (("system", self.system), ("user", _filled(self.user, context)))
            return turns if self.system else turns[1:]
        return _filled(self.base, context)


def load(key: str, file: str = "") -> Template:
    """A prompt by its key, from the user's file or else from the plugin's own.

    Raises:
        UsageError: no such file, no such key, or a table that is no template.
    """
    where, content = _read(file)
    tables = {name: table for name, table in content.items() if isinstance(table, Mapping)}
    if key not in tables:
        raise UsageError(f"{where}: no prompt {key!r}." + nearest(key, tables))
    table = tables[key]
    instruct = table.get("instruct", {})
    texts = {
        "base": table.get("base", ""),
        "system": instruct.get("system", "") if isinstance(instruct, Mapping) else None,
        "user": instruct.get("user", "") if isinstance(instruct, Mapping) else None,
        "cue": table.get("cue", ""),
        "marker": table.get("marker", ""),
    }
    for name, text in texts.items():
        if not isinstance(text, str):
            raise UsageError(f"{where}: prompt {key!r}, {name}: should be a text")
    for name in ("base", "user"):
        if texts[name] and "{text}" not in texts[name]:
            raise UsageError(f"{where}: prompt {key!r}, {name}: never shows the passage; put {{text}} where it belongs")
    return Template(f"{where}: prompt {key!r}", **texts)


@cache
def _read(file: str) -> tuple[str, Mapping[str, Any]]:
    source = Path(file).expanduser() if file else files("harness_seal").joinpath("templates", "squad-1.toml")
    try:
        return str(file or source.name), tomllib.loads(source.read_text(encoding="utf-8"))
    except OSError as why:
        raise UsageError(f"editor.template: {file} cannot be read: {why.strerror}") from why
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as why:
        raise UsageError(f"editor.template: {file} is not TOML: {why}") from why


def _filled(template: str, context: JSON) -> str:
    return _PLACEHOLDER.sub(lambda found: str(context[found[1]]).strip(), template)
