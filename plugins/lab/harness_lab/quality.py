"""The quality of a self-edit: which facts of its page it states, rightly or wrongly, and how much is vague or copied.

The lab knows every fact and every wording, so quality can be measured without a judge.
"""

import re
from dataclasses import dataclass

from harness_lab.world.facts import Fact, Page, fill, phrases, questions, sentence, statements

_GAP = "\0"
_SENTENCES = re.compile(r"\n|(?<=\.) ")
_DIALOGUE = re.compile(r"\n(?=Question \d+:)")


@dataclass(frozen=True)
class Quality:
    """`recall` is the share of the page's facts stated rightly; other shares are of the edit's lines or sentences."""

    lines: int
    recall: float
    stated: float
    wrong: float
    vague: float
    copied: float


def quality(text: str, page: Page) -> Quality:
    """The quality of an edit in the form in which it is learnt: with its cue, without any reasoning before it."""
    text = text.strip()
    parts = _DIALOGUE.split(text) if text.startswith("Question 1:") else _SENTENCES.split(text)
    lines = [part.strip() for part in parts if part.strip()]
    found = [_stated(line, page) for line in lines]
    right = {fact for fact, is_right in filter(None, found) if is_right}
    stated = sum(one is not None for one in found)
    wrong = sum(one is not None and not one[1] for one in found)
    vague = {sentence(fill(t, e.subject)) for t in phrases()["vague"] for e in page.entities}
    copies = sum(any(line.casefold().rstrip(".") in s.casefold() for s in page.sentences) for line in lines)
    n = max(1, len(lines))
    return Quality(
        len(lines),
        len(right) / len(page.facts),
        stated / n,
        wrong / n,
        sum(line in vague for line in lines) / n,
        copies / n,
    )


def _stated(line: str, page: Page) -> tuple[Fact, bool] | None:
    """The fact that a line is about, if it names the subject, and whether it has the right value."""
    for fact in page.facts:
        for template in statements(fact.attribute):
            before, after = sentence(fill(template.replace("{V}", _GAP), fact.entity.subject)).split(_GAP)
            value = re.fullmatch(re.escape(before).replace(r"\ a\ ", r"\ an?\ ") + "(.+)" + re.escape(after), line)
            if value is not None:
                return fact, value[1] == fact.value
        asked = re.fullmatch(r"Question \d+: (.+)\nAnswer: (.+)", line)
        if asked is not None and asked[1] in _questions(fact):
            return fact, asked[2] == fact.value
    return None


def _questions(fact: Fact) -> set[str]:
    templates = (*questions(fact.attribute, held_out=False), *questions(fact.attribute, held_out=True))
    return {sentence(fill(template, fact.entity.subject)) for template in templates}
