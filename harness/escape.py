"""What others wrote, made harmless where it is written out: one function a format.

Names, titles, notes and answers come from plugins, files and models, and end up where something acts on them: a
terminal obeys escape sequences, Markdown and HTML have markup, spreadsheets compute cells that begin like a formula.
Each function is used at the point of writing, and only there, so that what is stored stays what it was.
"""

from __future__ import annotations

import re
from html import escape as _escape

# C0 but tab and line feed, DEL, C1, and what turns the direction of text around or breaks lines, so that a reader sees
# something other than what is there. Lone surrogates cannot be written at all.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]"
)
_MARKUP = re.compile(r"[\\`*\[\]|~]|(?<![^\W_])_|_(?![^\W_])")
_FORMULA = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"


def terminal(text: str) -> str:
    """For a terminal: control characters as ``\\x1b``; line feeds and tabs stay. ``rich`` reads its own markup in it
    unless it is told not to (:func:`rich`)."""
    return _CONTROL.sub(_visible, text)


def line(text: str) -> str:
    """As :func:`terminal`, in one line: for messages, of which the next line must not be anyone else's."""
    return terminal(text).replace("\n", "\\n").replace("\t", " ")


def rich(text: str) -> str:
    """As :func:`line`, where ``rich`` reads markup: titles and cells of its tables."""
    from rich.markup import escape as plain

    return plain(line(text))


def markdown(text: str) -> str:
    """For one line, heading or table cell of Markdown: no HTML, no markup, no line of its own."""
    flat = " ".join(terminal(text).split("\n")).replace("\t", " ")
    return _escape(_MARKUP.sub(r"\\\g<0>", flat), quote=False)


def fenced(lines: list[str]) -> list[str]:
    """Lines as a code block of Markdown, which none of them can end."""
    flat = [terminal(one).replace("\n", " ") for one in lines]
    longest = max((len(run) for one in flat for run in re.findall("`+", one)), default=0)
    fence = "`" * max(3, longest + 1)
    return [fence, *flat, fence]


def html(text: str) -> str:
    """For HTML's text and quoted attributes."""
    return _escape(terminal(text))


def csv_cell(text: str) -> str:
    """For a cell of CSV: what a spreadsheet would compute begins with an apostrophe, which makes it text."""
    shown = _CONTROL.sub(_visible, text)
    return f"'{shown}" if text.startswith(tuple(_FORMULA)) else shown


def xml(text: str) -> str:
    """For XML 1.0, which cannot hold control characters at all; the writer escapes the markup."""
    return terminal(text)


def _visible(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
