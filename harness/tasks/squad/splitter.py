"""How the text of a self-edit becomes training sequences; the choice of splitter moves scores by whole points.

Source: SEAL (arXiv 2506.10943), its released code rather than its text. ``reference`` does what that code does, with
its quirks. ``fixed`` differs where those are plainly accidents:

* a question stays with its answer where answers are numbered too (``Answer 3:``), as most are; ``reference`` makes two
  sequences of them;
* ``---`` splits only where it stands on a line of its own;
* a lead-in ("Sure, here is a list:") is dropped before any kind of list, not only before one that begins with ``1.``;
* a fragment without a letter or digit is dropped.
"""

from __future__ import annotations

import re
from typing import Literal

Splitter = Literal["reference", "fixed"]

_QUESTION = re.compile(r"Question\s+\d+:")
_ANSWER = {"reference": re.compile(r"Answer\s*:"), "fixed": re.compile(r"Answer\s*\d*\s*:")}
_BEFORE_QUESTION = re.compile(r"\n(?=Question\s+\d+:)")
_RULE = {"reference": re.compile("---"), "fixed": re.compile(r"^[ \t]*-{3,}[ \t]*$", re.MULTILINE)}
_FIRST_ITEM = {"reference": re.compile(r"1\."), "fixed": re.compile(r"1[.):]|[-*•]\s")}


def split(text: str, splitter: Splitter, *, lines: bool, cap: int = 0, marker: str = "") -> list[str]:
    """The sequences of one completion, stripped, in order, without title or passage.

    Args:
        lines: one sequence per line (or a question with its answer); otherwise only ``---`` splits, as in continued
            pretraining.
        cap: keep at most this many (the reference's second version keeps 30); 0 keeps all.
        marker: text up to a line that begins with it is reasoning and not learnt (the reference's second version cuts
            every edit at ``Implications:``; here only edits whose prompt asks for reasoning give a marker).

    A blank text gives one empty sequence under ``reference`` and none under ``fixed``.
    """
    text = _after(marker, text, splitter)
    parts = [part.strip() for part in _RULE[splitter].split(text)]
    parts = [part for part in parts if part] or [text.strip()]
    if lines:
        parts = _pairs(text) if _is_dialogue(text, splitter) else _lines(parts, splitter)
    if splitter == "fixed":
        parts = [part for part in parts if any(map(str.isalnum, part))]
    return parts[:cap] if cap else parts


def _after(marker: str, text: str, splitter: Splitter) -> str:
    # The reference looks for a newline before the marker, and so misses one at the very start.
    start = r"\n" if splitter == "reference" else r"^[ \t]*"
    found = re.search(start + re.escape(marker) + r"\s*", text, re.MULTILINE) if marker else None
    return text[found.end() :] if found else text


def _is_dialogue(text: str, splitter: Splitter) -> bool:
    return bool(_QUESTION.search(text) and _ANSWER[splitter].search(text))


def _pairs(text: str) -> list[str]:
    parts = [part.strip() for part in _BEFORE_QUESTION.split(text.strip())]
    if not parts[0].startswith("Question"):
        parts[0] = "Question 1: " + parts[0]
    return parts


def _lines(parts: list[str], splitter: Splitter) -> list[str]:
    found = [line.strip() for part in parts for line in part.splitlines() if line.strip()]
    if len(found) > 1 and _FIRST_ITEM[splitter].match(found[1]):
        # Two bullets in a row are two items; only the reference takes the first of two "1." for a lead-in.
        is_item = splitter == "fixed" and _FIRST_ITEM["fixed"].match(found[0])
        if not is_item:
            del found[0]
    return found or parts
