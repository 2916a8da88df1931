"""Escaping of untrusted text: one function per output format.

Names, titles, notes and answers come from plugins, files and models, and end up where something acts on them: a
terminal obeys escape sequences, Markdown and HTML have markup, spreadsheets compute cells that begin like a formula.
Each function is called where text is written out, and only there, so that what is stored stays as it came.
"""

from __future__ import annotations

import re
from html import escape as _escape

# C0 except tab and line feed, DEL, C1, and the characters that reverse the direction of text or break lines, with which
# a reader would see something other than what is there. Lone surrogates cannot be written at all.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]"
)
_MARKUP = re.compile(r"[\\`*\[\]|~]|(?<![^\W_])_|_(?![^\W_])")
_FORMULA = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"


def terminal(text: str) -> str:
    """For a terminal: control characters become visible, as ``\\x1b``; line feeds and tabs stay. It leaves the markup
    of the library ``rich`` in place; see :func:`rich`."""
    return _CONTROL.sub(_visible, text)


def line(text: str) -> str:
    """As :func:`terminal`, on one line: for messages, so that untrusted text cannot forge the next one."""
    return terminal(text).replace("\n", "\\n").replace("\t", " ")


def rich(text: str) -> str:
    """As :func:`line`, for places where ``rich`` interprets markup: titles and cells of its tables."""
    from rich.markup import escape as plain

    return plain(line(text))


def markdown(text: str) -> str:
    """For one line, heading or table cell of Markdown: no HTML, no markup, no line breaks."""
    flat = " ".join(terminal(text).split("\n")).replace("\t", " ")
    return _escape(_MARKUP.sub(r"\\\g<0>", flat), quote=False)


def fenced(lines: list[str]) -> list[str]:
    """Lines as a fenced code block of Markdown, with a fence that none of them can close."""
    flat = [terminal(one).replace("\n", " ") for one in lines]
    longest = max((len(run) for one in flat for run in re.findall("`+", one)), default=0)
    fence = "`" * max(3, longest + 1)
    return [fence, *flat, fence]


def html(text: str) -> str:
    """For text and quoted attributes of HTML."""
    return _escape(terminal(text))


def csv_cell(text: str) -> str:
    """For a cell of CSV: text that a spreadsheet would compute gets an apostrophe in front, which keeps it text."""
    shown = _CONTROL.sub(_visible, text)
    return f"'{shown}" if text.startswith(tuple(_FORMULA)) else shown


def xml(text: str) -> str:
    """For XML 1.0, which cannot hold control characters at all; escaping the markup is left to the XML writer."""
    return terminal(text)


def _visible(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
