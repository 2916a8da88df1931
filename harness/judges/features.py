"""The features that the judge ``offline-2`` adds: what gold and answer share that the question did not give away.

Texts are compared as stems: lower case without accents, possessives and ordinal endings; number words and small Roman
numerals as digits; thousands without commas. Only the first line of an answer is read, for base models go on with
questions of their own. "New" words are those that the question did not give away.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache


def _words(text: str) -> list[str]:
    return text.split()


_STOP_WORDS = _words(
    "a an the of in on at to for from by with as and or but is are was were be been being it its this that these those "
    "which who whom whose what when where why how do does did has have had he she they them their his her our your you "
    "we i there here also such some any not no can could may might will would should into than then so if about over "
    "under between through during before after up out per both all each"
)
_NEGATIONS = frozenset(_words("not no never none cannot neither nor without nobody nothing didnt doesnt isnt wasnt"))
_ENDINGS = _words(
    "ational ization isation fulness iveness ousness ements ement ments ment ations ation ators ator ities ity ness "
    "ings ing ions ion ies ied ers er est ed es ly al ic ive ous s e y"
)
"""Suffixes, the longest of a family first; one is cut where at least four letters stay."""
_UNITS = _words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS = _words("twenty thirty forty fifty sixty seventy eighty ninety")
_ORDINALS = _words("first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth")
_ROMAN = {"ii": 2, "iii": 3, "iv": 4, "vi": 6, "vii": 7, "viii": 8, "ix": 9, "xi": 11, "xii": 12}
_DIGITS = {
    **{word: str(number) for number, word in enumerate(_UNITS)},
    **{word: str(10 * number) for number, word in enumerate(_TENS, 2)},
    **{word: str(number) for number, word in enumerate(_ORDINALS, 1)},
    **{word: str(number) for word, number in _ROMAN.items()},
    "once": "1",
    "twice": "2",
    "half": "0.5",
    "dozen": "12",
}
_WORD = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+")
_NEXT_QUESTION = re.compile(r"\n|\bQ:|\bQuestion:")
_NAME = re.compile(r"\b[A-Z]\w+")


def features(question: str, gold: str, answer: str) -> dict[str, float]:
    """The features of one answer against one gold, by name."""
    text = first_line(answer)
    asked, wanted, found = stems(question), stems(gold), stems(text)
    known, have, gold_set = set(asked), set(found), set(wanted)
    content = [word for word in wanted if word not in _STOPS] or wanted
    new = [word for word in content if word not in known] or content
    said = [word for word in found if word not in _STOPS]
    added = [word for word in said if word not in known]
    names = [word for word in stems(" ".join(_NAME.findall(gold))) if word not in known and word not in _STOPS]
    other_names = {word for name in _NAME.finditer(text) if name.start() for word in stems(name.group())}
    numbers, their_numbers = _numbers(wanted), _numbers(found)
    return {
        "likeness": _mean([_best(word, have) for word in new]),
        "contains": float(f" {' '.join(content)} " in f" {' '.join(said)} "),
        "precision": _share(added, gold_set),
        "precise_likeness": _mean([_best(word, gold_set) for word in added]),
        "added": math.log1p(len(added)),
        "names": _mean([_best(word, have) for word in names]),
        "names_wanted": float(bool(names)),
        "names_added": math.log1p(len(other_names - gold_set - known)),
        "numbers_missing": len(numbers - their_numbers) / len(numbers) if numbers else 0.0,
        "numbers_added": math.log1p(len(their_numbers - numbers - _numbers(asked))),
        "negation": float(bool(have & _NEGATIONS)) - float(bool((gold_set | known) & _NEGATIONS)),
        "parts": math.log1p(gold.count(",") + gold.count(" and ") + gold.count(" or ")),
        "asked": _share([word for word in known if word not in _STOPS], have),
    }


def first_line(answer: str) -> str:
    """The text before a further line or question; the whole text where nothing precedes one."""
    text = answer.strip()
    return _NEXT_QUESTION.split(text, maxsplit=1)[0].strip() or text


def stems(text: str) -> list[str]:
    """The words of a text as stems, numbers as digits."""
    plain = "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign)).lower()
    plain = re.sub(r"(?<=\d),(?=\d{3})", "", plain)
    plain = re.sub(r"(?<=\w)['’](?=\w)", "", re.sub(r"['’]s\b", "", plain))
    plain = re.sub(r"(\d)(?:st|nd|rd|th|s)\b", r"\1", plain)
    return [stem(_DIGITS.get(word, word)) for word in _WORD.findall(plain)]


@lru_cache(maxsize=100_000)
def stem(word: str) -> str:
    """A word without its suffix."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word[: -len(ending)]
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


_STOPS = frozenset(stem(word) for word in _STOP_WORDS)


def _numbers(words: Sequence[str]) -> set[str]:
    return {word for word in words if word[0].isdigit()}


def _share(words: Sequence[str], among: set[str]) -> float:
    return sum(word in among for word in words) / len(words) if words else 0.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _best(word: str, among: set[str]) -> float:
    """The likeness of the most similar word; forgives inflection and spelling, but not a different number."""
    return 1.0 if word in among else max((likeness(word, other) for other in among), default=0.0)


@lru_cache(maxsize=200_000)
def likeness(word: str, other: str) -> float:
    """Dice's coefficient of two words' character trigrams, with marked ends; a number is like itself only."""
    if word == other:
        return 1.0
    if word[0].isdigit() or other[0].isdigit():
        return 0.0
    one, two = (set(_trigrams(f"^{text}$")) for text in (word, other))
    return 2 * len(one & two) / (len(one) + len(two)) if one or two else 0.0


def _trigrams(text: str) -> list[str]:
    return [text[at : at + 3] for at in range(len(text) - 2)]
