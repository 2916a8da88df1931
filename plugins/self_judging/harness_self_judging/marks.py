"""Marks in a judge's text: how they are read, and the score that is expected of them. Pure functions."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.errors import UsageError

_NEAR = 1e-3
"""Log-probabilities of the same tokens, computed in different batches, differ by less than this."""


@dataclass(frozen=True)
class Scale:
    """The marks that a judge may give, and what each is worth."""

    values: Mapping[str, float]
    pattern: re.Pattern[str]
    """Its first group is the mark."""

    @classmethod
    def parse(cls, marks: str, pattern: str, where: str) -> Scale:
        """A scale from its notation.

        Args:
            marks: words, each worth the number that it spells (``0 1 2``) or that follows it (``bad=0 good=5``).
            pattern: a regular expression; "" for a text that begins with the mark.

        Raises:
            UsageError: no marks, a mark without a value, a malformed expression, or one without a group.
        """
        values: dict[str, float] = {}
        for word in marks.split():
            name, sign, value = word.partition("=")
            try:
                values[name] = float(value if sign else name)
            except ValueError:
                raise UsageError(f"{where}: mark {word!r} has no number; write {name}=1") from None
        if len(set(values.values())) < 2:
            raise UsageError(f"{where}: needs at least two marks that differ, such as marks = '0 1 2 3 4 5'")
        words = "|".join(re.escape(name) for name in sorted(values, key=len, reverse=True))
        try:
            compiled = re.compile(pattern or rf"^\s*({words})\b")
        except re.error as error:
            raise UsageError(f"{where}: pattern {pattern!r} is no regular expression: {error}") from error
        if not compiled.groups:
            raise UsageError(f"{where}: pattern {pattern!r} has no group, such as 'Score: (\\d+)'")
        return cls(values, compiled)

    def read(self, text: str) -> tuple[str, int] | None:
        """The last mark of a text and where it begins; None where there is none, or where it is not on the scale."""
        found = list(self.pattern.finditer(text))
        if not found or found[-1][1] not in self.values:
            return None
        return found[-1][1], found[-1].start(1)

    def share(self, score: float) -> float:
        """A score as a share of the way from the lowest mark to the highest."""
        low, high = min(self.values.values()), max(self.values.values())
        return (score - low) / (high - low)


def probabilities(rows: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The probability of each mark, given that one of them is written.

    A mark may be several tokens, and its tokens may begin those of another: what is given as the probability of "1" is
    that of a text that begins with "1", so that of "10" is taken off it. Where a tokenizer has a token for "10", the
    two share no token, and nothing is taken off.

    Args:
        rows: mark -> natural-log probability of each token of the same text with that mark at its end.
    """
    top = max(sum(row) for row in rows.values())
    whole = {mark: math.exp(sum(row) - top) for mark, row in rows.items()}
    longer = {mark: [other for other in rows if _begins(mark, other, rows)] for mark in rows}
    own: dict[str, float] = {}
    for mark, others in longer.items():
        # Of "1", "10" and "100", the mass of "100" is in that of "10" already.
        nearest = [other for other in others if not any(other in longer[between] for between in others)]
        own[mark] = max(0.0, whole[mark] - sum(whole[other] for other in nearest))
    total = sum(own.values())
    return {mark: mass / total for mark, mass in own.items()} if total else dict.fromkeys(own, 1 / len(own))


def expected(values: Mapping[str, float], shares: Mapping[str, float]) -> float:
    """The mean of the marks' values under their probabilities (ALMA, arXiv 2412.04305, section 3.2)."""
    return sum(values[mark] * share for mark, share in shares.items())


def _begins(mark: str, other: str, rows: Mapping[str, Sequence[float]]) -> bool:
    """Whether the tokens of ``other`` begin with all those of ``mark``."""
    mine, theirs = rows[mark], rows[other]
    return (
        other != mark
        and other.startswith(mark)
        and len(theirs) > len(mine)
        and all(abs(a - b) < _NEAR for a, b in zip(mine, theirs, strict=False))
    )
