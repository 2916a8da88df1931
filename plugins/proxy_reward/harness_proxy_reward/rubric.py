"""The rubric as pure functions: the criteria, each marked from 1 to 5, and how a judge's answer is read."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from harness.api import Reward, SelfEdit

CRITERIA = ("length", "diversity", "quality", "correctness")
"""Length against the passage, little repetition, good writing, support by the passage (SEAL v2, appendix)."""
LOWEST, HIGHEST = 1, 5

_ALSO = {"correctness": ("correctness", "correct")}


class Unreadable(Exception):
    """A judge's answer that does not hold every mark exactly once."""


def read(answer: str, criteria: Sequence[str], *, reasons: bool = False) -> dict[str, int]:
    """The marks in a judge's answer: a JSON object, lines ``<criterion>: <mark>``, or (for one criterion) a number.

    With ``reasons`` only lines are read, ``<criterion>: <mark> - <reason>``. A total given by the judge is ignored.

    Raises:
        Unreadable: a mark is missing, repeated, or not a whole number from 1 to 5.
    """
    text = answer.strip()
    if len(criteria) == 1 and re.fullmatch(r"\d+", text):
        return {criteria[0]: _in_range(criteria[0], int(text))}
    found = None if reasons else _from_json(text, criteria)
    return found if found is not None else {name: _from_lines(text, name) for name in criteria}


def schema(criteria: Sequence[str]) -> Mapping[str, object]:
    """The JSON schema of an answer, for models that follow one."""
    mark = {"type": "integer", "enum": list(range(LOWEST, HIGHEST + 1))}
    return {
        "type": "object",
        "properties": dict.fromkeys(criteria, mark),
        "required": list(criteria),
        "additionalProperties": False,
    }


def without_marks(edit: SelfEdit) -> Reward | None:
    """The reward of an edit that needs no judge: 0, below any mark, for a failed edit; unknown for a lost one."""
    if edit.status == "failed":
        return Reward(0.0, "failed", {"reason": edit.reason})
    if edit.status == "error":
        return Reward(None, "error", {"reason": edit.reason})
    return None


def text_of(edit: SelfEdit) -> str:
    """What the model wrote, before it is split into training sequences."""
    return "\n".join(action.text.strip() for action in edit.actions).strip()


def _from_json(text: str, criteria: Sequence[str]) -> dict[str, int] | None:
    start, end = text.find("{"), text.rfind("}")
    if start < 0 or end < start:
        return None
    try:
        value = json.loads(text[start : end + 1])
    except (ValueError, RecursionError) as why:
        raise Unreadable(f"the judge's JSON is broken: {why}") from None
    if not isinstance(value, Mapping):
        raise Unreadable("the judge's JSON is no object")
    missing = [name for name in criteria if name not in value]
    if missing:
        raise Unreadable(f"the judge gave no mark for {missing[0]}")
    return {name: _in_range(name, value[name]) for name in criteria}


def _from_lines(text: str, name: str) -> int:
    words = "|".join(_ALSO.get(name, (name,)))
    found = re.findall(rf"^[\s*#-]*(?:{words})\W*:\W*(\d+(?:\.\d+)?)", text, re.IGNORECASE | re.MULTILINE)
    if len(found) != 1:
        raise Unreadable(f"the judge gave {'no mark' if not found else f'{len(found)} marks'} for {name}")
    return _in_range(name, float(found[0]) if "." in found[0] else int(found[0]))


def _in_range(name: str, mark: object) -> int:
    if isinstance(mark, bool) or not isinstance(mark, int) or not LOWEST <= mark <= HIGHEST:
        raise Unreadable(f"the judge's mark for {name} is {mark!r}, not a whole number from {LOWEST} to {HIGHEST}")
    return mark
