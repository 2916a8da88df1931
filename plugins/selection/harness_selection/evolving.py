"""Evolved questions: which are eliminated, and the question that runs backwards. Pure functions.

Elimination is Evol-Instruct's (Xu et al. 2023, arXiv 2304.12244, section 3.2), the backward question FOBAR's (in
MetaMath, Yu et al. 2023, arXiv 2309.12284, section 3.3).
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

_STOP = """a about an and are as at be been but by can could did do does for from had has have he her here his how i
if in into is it its me my no not of on or our she so some such than that the their them then there these they this to
was we were what when where which who why will with would you your"""
STOP_WORDS = frozenset(_STOP.split())
_WORD = re.compile(r"[^\W_]+")
_SORRY, _SHORT = "sorry", 80


def words(text: str) -> list[str]:
    """Words and numbers, in lower case."""
    return _WORD.findall(text.lower())


def copies(question: str, parent: str) -> bool:
    """Whether a question says nothing that its parent does not: the same words, or a part of them in their order."""
    ours, theirs = words(question), words(parent)
    return not ours or any(theirs[i : i + len(ours)] == ours for i in range(len(theirs) - len(ours) + 1))


def leaks(question: str, parent: str, phrases: Sequence[str]) -> str:
    """The first phrase of the evolving prompt that has got into the question, and was not in its parent; "" for
    none."""
    ours, theirs = f" {' '.join(words(question))} ", f" {' '.join(words(parent))} "
    found = (f" {' '.join(words(phrase))} " for phrase in phrases)
    return next((phrase.strip() for phrase in found if phrase.strip() and phrase in ours and phrase not in theirs), "")


def refuses(response: str) -> bool:
    """Whether a response says sorry in fewer than 80 words."""
    said = words(response)
    return _SORRY in said and len(said) < _SHORT


def is_empty(response: str) -> bool:
    """Whether a response holds nothing but punctuation and stop words."""
    return not set(words(response)) - STOP_WORDS


def masked(question: str, pattern: re.Pattern[str], unknown: str, seed: int) -> tuple[str, str] | None:
    """The question with one number hidden, and that number; None where there is nothing to hide.

    Args:
        pattern: what may be hidden, in its first group if it has one; one of the places is drawn.
    """
    found = list(pattern.finditer(question))
    if not found:
        return None
    chosen = random.Random(seed).choice(found)
    group = 1 if pattern.groups else 0
    start, end = chosen.span(group)
    return question[:start] + unknown + question[end:], chosen[group]
