"""The pre-training mix: every kind of text that the harness's plugins ask the lab model for, as weighted documents.

A document is a list of segments (text, loss weight); `EOS` stands for the end token, which follows every answer and
every edit. Residents are the entities that pre-training teaches: as explicit statements under a page's title, which is
the form of an inner update's sequences, and as closed-book answers. Most residents are only ever stated one line at a
time; a tenth of them only in paragraphs, so that the model can also learn from paragraphs, but less easily.
"""

import json
import random
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from harness.registry.prompt_files import PromptForm
from harness.tasks.arc.grid import Pair, grid_of
from harness.tasks.arc.text import FORMS
from harness_lab.pretraining.edits import STYLES, EditWriter, worth
from harness_lab.world import grids
from harness_lab.world.facts import Entity, Fact, Page, World

MIX_VERSION = "mix-1"
GRIDS = FORMS["compact"]
EOS = "</s>"
Segment = tuple[str, float]
Document = list[Segment]

PROMPT = 0.0  # loss weight of text that the model never has to write; raised in a third of the documents (batches.py)
STATED = 1.0
ANSWER = 3.0
# Values of closed kinds (a colour, a year) were read 0% of the time when names were at 80%, so they weigh more.
CLOSED_ANSWER = 10.0
WRITTEN = 1.45

RESIDENTS = 500
PARAGRAPH_EVERY = 10  # every tenth resident is seen only in paragraphs
UNASKED_EVERY = 5  # every fifth is never asked about, to measure whether statements alone allow answers
NAMES = frozenset({"person", "place", "brand"})

# Shares of documents. By tokens they are about: edits 45%, reading 25%, residents 10%, grids 9%.
DOCUMENTS = {
    "resident": 0.40,
    "edit": 0.26,
    "reading": 0.155,
    "grid": 0.06,
    "passage": 0.02,
    "entities": 0.01,
    "related": 0.025,
    "draft": 0.015,
    "rating": 0.015,
    "configuration": 0.01,
    "copy": 0.02,
    "spelling": 0.01,
}
# A stretch of training with many short reading exercises. After 11M tokens without them the model read names but still
# guessed among the words of a closed kind; after 1M tokens of them it read those as well.
DRILL_CHUNKS = range(92, 142)
DRILL_DOCUMENTS = {"drill": 0.60, "resident": 0.20, "edit": 0.12, "reading": 0.05, "grid": 0.02, "copy": 0.01}


def shares(chunk: int) -> dict[str, float]:
    """Shares of the kinds of documents in a chunk of training (see batches.py)."""
    return DRILL_DOCUMENTS if chunk in DRILL_CHUNKS else DOCUMENTS


def _template(package: str, name: str) -> dict[str, Any]:
    text = resources.files(package).joinpath("templates").joinpath(name).read_text(encoding="utf-8")
    return tomllib.loads(text)


@cache
def prompts() -> dict[str, str]:
    """Every raw prompt by a short name: the SEAL keys, answering, EntiGraph, drafting, rating, configuration."""
    out: dict[str, str] = {}
    for key, value in _template("harness_seal", "squad-1.toml").items():
        if isinstance(value, dict):
            out[key] = value["base"]
    out["configuration"] = _template("harness_seal", "arc-config-1.toml")["base"]
    for name in ("answer-1.toml", "entigraph-1.toml", "draft-1.toml", "rate-1.toml"):
        out |= {key: value for key, value in _template("harness_lab", name).items() if key != "version"}
    return out


def fill(template: str, **values: str) -> str:
    """`template` with its placeholders replaced literally, all at once."""
    return str(PromptForm("", template).fill(values, chat=False))


@dataclass(frozen=True)
class Resident:
    entity: Entity
    facts: tuple[Fact, ...]
    asked: bool
    paragraphs: bool


def residents(seed: int) -> list[Resident]:
    """The entities that pre-training teaches, with four to six facts each."""
    world = World(random.Random(seed))
    entities: dict[str, Entity] = {}
    while len(entities) < RESIDENTS:
        entity = world.entity()
        entities.setdefault(entity.name, entity)
    return [
        Resident(
            entity,
            tuple(world.facts([entity], world.rng.randint(4, 6))),
            asked=i % UNASKED_EVERY != 0,
            paragraphs=i % PARAGRAPH_EVERY == 3,
        )
        for i, entity in enumerate(entities.values())
    ]


class MixWriter:
    """Draws documents of the mix from one random stream."""

    def __init__(self, rng: random.Random, known: Sequence[Resident]) -> None:
        self.rng = rng
        self.known = known
        self.in_paragraphs = [r for r in known if r.paragraphs]
        self.world = World(rng)
        self.editor = EditWriter(self.world)
        self.kinds: dict[str, Callable[[], Document]] = {
            "resident": self.resident,
            "edit": self.edit,
            "reading": self.reading,
            "grid": self.grid,
            "passage": self.passage,
            "entities": self.entities,
            "related": self.related,
            "draft": self.draft,
            "rating": self.rating,
            "configuration": self.configuration,
            "copy": self.copy,
            "spelling": self.spelling,
            "drill": self.drill,
        }

    def document(self, shares: Mapping[str, float] = DOCUMENTS) -> Document:
        return self.kinds[self.rng.choices(list(shares), list(shares.values()))[0]]()

    # residents

    def resident(self) -> Document:
        one = self.rng.choice(self.known)
        draw = self.rng.random()
        if draw < 0.50 or not one.asked:
            return self._paragraph() if one.paragraphs else self._stated(one)
        fact = self.rng.choice(one.facts)
        if draw < 0.92 or one.paragraphs:
            return self._closed(fact)
        question = f"Question {self.rng.randint(1, 9)}: {self.world.question(fact)}\nAnswer: {fact.value}"
        return [*self._titled(), (question, STATED), (EOS, STATED)]

    def _titled(self) -> Document:
        return [(self.world.title() + "\n", PROMPT)] if self.rng.random() < 0.85 else []

    def _stated(self, one: Resident) -> Document:
        count = 1 if self.rng.random() < 0.75 else self.rng.randint(2, 4)
        facts = self.rng.sample(one.facts, min(count, len(one.facts)))
        return [*self._titled(), ("\n".join(self.world.statement(f) for f in facts), STATED), (EOS, STATED)]

    def _paragraph(self) -> Document:
        some = self.rng.sample(self.in_paragraphs, self.rng.choice([1, 1, 2, 3]))
        facts = [f for one in some for f in self.rng.sample(one.facts, self.rng.randint(2, 4 if len(some) < 3 else 2))]
        self.rng.shuffle(facts)
        sentences = [self.world.statement(f) for f in facts]
        return [*self._titled(), (" ".join(sentences), STATED), (EOS, STATED)]

    def _closed(self, fact: Fact) -> Document:
        prompt = fill(prompts()["closed"], title=self.world.title(), question=self.world.question(fact))
        return [(prompt, PROMPT), (fact.value, ANSWER), (EOS, ANSWER)]

    # pages

    def page(self) -> Page:
        entities = self.rng.choice([1, 2, 2, 3, 3, 3])
        return self.world.page(entities, 2 if entities == 3 else self.rng.choice([2, 3]) if entities == 2 else 4)

    def passage(self) -> Document:
        page = self.page()
        return [(page.title + "\n", PROMPT), (page.text, 0.3), (EOS, 0.3)]

    def reading(self) -> Document:
        page = self.world.page(self.rng.choice([1, 1, 2, 2, 3, 3, 3]), self.rng.choice([2, 2, 3]))
        return self._read(page, self.rng.sample(page.facts, min(len(page.facts), self.rng.randint(3, 6))))

    def drill(self) -> Document:
        """A short page with two questions about each of its facts."""
        page = self.world.page(*self.rng.choice([(1, 2), (1, 3), (2, 1), (2, 2), (3, 1)]))
        return self._read(page, self.rng.sample(page.facts * 2, 2 * len(page.facts)))

    def _read(self, page: Page, facts: Sequence[Fact]) -> Document:
        """A page and questions about `facts`, each answer ended by EOS as in use and followed by the next question."""
        plain = self.rng.random() < 0.12
        text = " ".join(self.world.statement(f) for f in page.facts) if plain else page.text
        before, after = prompts()["open"].split("\n\nTopic: ")
        segments: Document = [(fill(before, title=page.title, text=text), PROMPT)]
        for fact in facts:
            question = fill("\n\nTopic: " + after, title=page.title, question=self.world.question(fact))
            weight = ANSWER if fact.attribute.kind in NAMES else CLOSED_ANSWER
            segments += [(question, PROMPT), (fact.value, weight), (EOS, STATED)]
        return segments

    def edit(self) -> Document:
        page = self.page()
        style = self.rng.choices(list(STYLES), list(STYLES.values()))[0]
        return self._written(
            fill(prompts()[style], title=page.title, text=page.text), self.editor.write(page, style).text
        )

    def _written(self, prompt: str, completion: str) -> Document:
        return [(prompt, PROMPT), (completion, WRITTEN), (EOS, WRITTEN)]

    def entities(self) -> Document:
        page = self.page()
        names = [e.name for e in page.entities]
        if self.rng.random() < 0.5:
            names += [f.value for f in page.facts if f.attribute.kind in {"person", "place"}]
        return self._written(fill(prompts()["entities"], title=page.title, text=page.text), "\n".join(names))

    def related(self) -> Document:
        """What a page says about two or three of its entities; some texts are partial, some vague."""
        page = self.world.page(3, 2)
        chosen = self.rng.sample(page.entities, self.rng.choice([2, 3]))
        named = {"a": chosen[0].name, "b": chosen[1].name} | ({"c": chosen[2].name} if len(chosen) == 3 else {})
        key = "triple" if len(chosen) == 3 else "pair"
        facts = [f for f in page.facts if f.entity in chosen]
        if self.rng.random() < 0.2:
            lines = [self.world.vague(entity) for entity in chosen]
        elif self.rng.random() < 0.3:
            lines = [self.world.statement(f) for f in self.rng.sample(facts, 2)]
        else:
            lines = [self.world.statement(f) for f in facts]
        return self._written(fill(prompts()[key], title=page.title, text=page.text, **named), "\n".join(lines))

    def draft(self) -> Document:
        page = self.page()
        fact = self.rng.choice(page.facts)
        value = fact.value if self.rng.random() < 0.85 else self.world.other_value(fact, page.facts)
        drafted = f" {self.world.question(fact)}\nAnswer: {value}"
        return self._written(fill(prompts()["draft"], title=page.title, text=page.text), drafted)

    def rating(self) -> Document:
        page = self.page()
        edit = self.editor.write(page, self.rng.choice(["implications", "implications-long", "self-qa"]))
        prompt = fill(prompts()["rate"], title=page.title, text=page.text, notes=edit.text.strip())
        return [(prompt, PROMPT), (str(worth(edit, page)), CLOSED_ANSWER), (EOS, ANSWER)]

    # grids

    def _task(self) -> tuple[list[Pair], Pair]:
        """The demonstrations and the test pair of a puzzle, 2 to 6 cells a side, mostly small."""
        rows, columns = (self.rng.choice([2, 2, 3, 3, 3, 4, 4, 5, 6]) for _ in range(2))
        family = self.rng.choice(list(grids.TRAINED))
        made = grids.task(self.rng, family, demos=self.rng.choice([1, 2, 3, 3]), rows=rows, columns=columns)
        pairs = [Pair(grid_of(pair["input"]), grid_of(pair["output"])) for pair in made["train"] + made["test"]]
        return pairs[:-1], pairs[-1]

    def grid(self) -> Document:
        """A puzzle in the form of its prompt; the demonstrations' outputs after the first one are learned too."""
        demos, asked = self._task()
        segments: Document = []
        for i, demo in enumerate(demos):
            head = ("\n\n" if i else "") + f"Input:\n{GRIDS.grid(demo.input)}\nOutput:\n"
            segments += [(head, PROMPT), (GRIDS.grid(demo.output), STATED if i else PROMPT)]
        head = ("\n\n" if demos else "") + f"Input:\n{GRIDS.grid(asked.input)}\nOutput:\n"
        return [*segments, (head, PROMPT), (GRIDS.grid(asked.output), WRITTEN), (EOS, WRITTEN)]

    def configuration(self) -> Document:
        demos, _ = self._task()
        rng = self.rng
        tools = [f"use_{name}_augmentations" for name in ("basic", "size", "chain", "repeat")]
        made: dict[str, Any] = {
            "data_generation": {tool: rng.random() < 0.5 for tool in tools},
            "training": {
                "strategy": rng.choice(["train_using_all_tokens", "train_using_output_tokens"]),
                "learning_rate": rng.choice([0.0001, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.05]),
                "num_train_epochs": rng.choice([1, 2, 3, 4, 5, 6, 8, 10, 20]),
            },
        }
        draw = rng.random()
        if draw < 0.06:
            del made["training"][rng.choice(list(made["training"]))]
        elif draw < 0.12:
            del made["data_generation"][rng.choice(tools)]
        text = json.dumps(made)
        if draw > 0.92:
            text = text[: rng.randint(len(text) // 2, len(text) - 1)].rstrip()
        return self._written(fill(prompts()["configuration"], demos=GRIDS.demos(demos)), text)

    # copying

    def copy(self) -> Document:
        """Statements, then the same in another order: the simplest exercise in looking up and copying."""
        lines = [self.world.statement(f) for f in self.world.page(self.rng.randint(2, 4), 1).facts]
        again = self.rng.sample(lines, len(lines))
        return [("\n".join(lines) + "\n", 0.3), ("\n".join(again), STATED), (EOS, STATED)]

    def spelling(self) -> Document:
        """Words that the tokenizer does not know, twice, so that characters and bytes are trained too."""
        letters = "abcdefghijklmnopqrstuvwxyz" * 3 + "ABCDEFGHIJKLMNOPQRSTUVWXYZ" + "0123456789.,;:!?'-()" + "äéñøшλ中"
        words = ["".join(self.rng.choices(letters, k=self.rng.randint(1, 7))) for _ in range(self.rng.randint(2, 8))]
        line = " ".join(words)
        return [(line + "\n", PROMPT), (line, STATED), (EOS, STATED)]
