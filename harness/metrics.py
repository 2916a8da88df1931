"""String metrics for short answers: SQuAD's exact match and F1, containment, and token recall.

The normalisation, exact match and F1 are those of the official SQuAD v1.1 evaluation (Rajpurkar et al. 2016, arXiv
1606.05250, section 6.1): lower case, no ASCII punctuation, no articles, single spaces. Every metric is in [0, 1], is
the best over all gold answers, and raises ValueError where there are none.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize(text: str) -> str:
    """The text as the official script compares it; may be empty, as ``"The"`` becomes."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact(answer: str, golds: Sequence[str]) -> float:
    """1.0 where the normalised answer equals a normalised gold, else 0.0."""
    return _best(golds, lambda gold: float(normalize(answer) == normalize(gold)))


def f1(answer: str, golds: Sequence[str]) -> float:
    """The best harmonic mean of token precision and recall; repeated tokens count each time."""

    def one(gold: str) -> float:
        found, wanted = _tokens(answer), _tokens(gold)
        shared = (Counter(found) & Counter(wanted)).total()
        return 2 * shared / (len(found) + len(wanted)) if shared else 0.0

    return _best(golds, one)


def contains(answer: str, golds: Sequence[str]) -> float:
    """1.0 where a normalised gold occurs in the normalised answer as a run of whole tokens, else 0.0.

    A gold that normalises to the empty text is contained only in an answer that does so too.
    """

    def one(gold: str) -> float:
        found, wanted = normalize(answer), normalize(gold)
        return float(f" {wanted} " in f" {found} ") if wanted else float(not found)

    return _best(golds, one)


def token_recall(answer: str, golds: Sequence[str]) -> float:
    """The largest fraction of a gold's tokens that occur in the answer; repeated tokens count each time."""

    def one(gold: str) -> float:
        wanted = _tokens(gold)
        return (Counter(_tokens(answer)) & Counter(wanted)).total() / len(wanted) if wanted else 0.0

    return _best(golds, one)


MEASURES: Mapping[str, Callable[[str, Sequence[str]], float]] = MappingProxyType(
    {"exact": exact, "f1": f1, "contains": contains, "token_recall": token_recall}
)
"""The metrics by the names under which they are reported."""


def _tokens(text: str) -> list[str]:
    return normalize(text).split()


def _best(golds: Sequence[str], one: Callable[[str], float]) -> float:
    if not golds:
        raise ValueError("a measure needs at least one gold answer")
    return max(map(one, golds))
