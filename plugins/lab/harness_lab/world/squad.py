"""Pages with questions, in splits that share neither entities nor titles, and their SQuAD v1.1 form."""

import random
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harness_lab.world.facts import WORLD_VERSION, Page, World

DataSplit = Literal["train", "validation", "test"]
_SPLITS: tuple[DataSplit, ...] = ("train", "validation", "test")
ENTITIES, FACTS_EACH = 3, 2
NOTE_SHARE_ASKED = 0.7  # share of sentences that put the name first: limits what raw text can teach


@dataclass(frozen=True)
class Asked:
    id: str
    question: str
    answer: str


@dataclass(frozen=True)
class AskedPage:
    """A page with one question for each of its facts, in the page's order."""

    page: Page
    asked: tuple[Asked, ...]


def asked_pages(split: DataSplit, count: int, seed: int) -> list[AskedPage]:
    """The first `count` pages of a split, three entities with two facts each.

    The train split asks with the question templates of pre-training, validation and test only with held-out ones.
    """
    rng = random.Random(f"{WORLD_VERSION}/{seed}/{split}")
    world = World(rng, split, NOTE_SHARE_ASKED)
    names: set[str] = set()
    found: dict[str, AskedPage] = {}
    while len(found) < count:
        page = world.page(ENTITIES, FACTS_EACH)
        asked = tuple(
            Asked(f"{split}-{seed}-{len(found)}-{i}", world.question(fact, held_out=split != "train"), fact.value)
            for i, fact in enumerate(page.facts)
        )
        mine = {entity.name for entity in page.entities}
        if mine & names or page.title in found or _split_of(page.title) != split:
            continue
        names |= mine
        found[page.title] = AskedPage(page, asked)
    return list(found.values())


def _split_of(title: str) -> DataSplit:
    return _SPLITS[zlib.crc32(title.encode()) % len(_SPLITS)]


def answer_start(text: str, answer: str) -> int:
    """The index of `answer` in `text` as a separate word.

    Raises:
        ValueError: it does not occur.
    """
    found = re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", text)
    if found is None:
        raise ValueError(f"{answer!r} is not in {text!r}")
    return found.start()


def squad_json(pages: Sequence[AskedPage]) -> dict[str, Any]:
    """The pages as one SQuAD v1.1 file."""
    return {
        "version": "1.1",
        "data": [
            {
                "title": one.page.title,
                "paragraphs": [
                    {
                        "context": one.page.text,
                        "qas": [
                            {
                                "id": asked.id,
                                "question": asked.question,
                                "answers": [
                                    {"text": asked.answer, "answer_start": answer_start(one.page.text, asked.answer)}
                                ],
                            }
                            for asked in one.asked
                        ],
                    }
                ],
            }
            for one in pages
        ],
    }
