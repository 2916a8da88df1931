"""The world of facts: entities with attributes, explicit statements about them, pages with a style of their own.

A page mentions several entities in a random order, and many of its sentences put the value before the name, so
that next-token training on it memorises the page but seldom trains P(value | name, attribute); an explicit statement
("{N} was born in {V}.") puts the name first. The lab makes the gap between the two visible.

Names are split by a checksum of their parts: pre-training, train, validation and test never share an entity.
For each attribute two of the questions made from its noun are held out from pre-training and from the train split.
"""

import random
import tomllib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

WORLD_VERSION = "facts-1"

NameSplit = Literal["pretraining", "train", "validation", "test"]
_SPLIT_OF_RESIDUE: dict[int, NameSplit] = {0: "train", 1: "validation", 2: "test"}
_NAME_RESIDUES = 16

NOTE_SHARE = 0.25  # share of a page's sentences that put the name first: limits how well raw text can score
HEDGE_SHARE = 0.2
SAME_SHARE = 0.4  # how often the second of two consecutive sentences about a subject says "that same town"
INTRO_SHARE = 0.3
MAX_OF_KIND = {"year": 1, "number": 1}  # most values of a kind on a page; for other kinds two


@dataclass(frozen=True)
class Attribute:
    """One attribute of an entity type with its wordings (see attributes.toml for the fields)."""

    type: str
    name: str
    index: int
    kind: str
    noun: str
    value: str
    says: tuple[str, ...]
    asks: tuple[str, ...]
    tells: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Entity:
    """A named thing. `subject` is how a sentence names it: "the ship Faribo"."""

    type: str
    name: str
    subject: str
    pronoun: str


@dataclass(frozen=True)
class Fact:
    entity: Entity
    attribute: Attribute
    value: str


@dataclass(frozen=True)
class Page:
    """A passage: its facts in the order in which `sentences` tell them, and the whole text."""

    title: str
    facts: tuple[Fact, ...]
    sentences: tuple[str, ...]
    text: str

    @property
    def entities(self) -> list[Entity]:
        return list(dict.fromkeys(fact.entity for fact in self.facts))


def _toml(name: str) -> dict[str, Any]:
    return tomllib.loads(resources.files(__package__).joinpath(name).read_text(encoding="utf-8"))


@cache
def names() -> dict[str, Any]:
    """names.toml with every string of words split into a list."""

    def split(value: Any) -> Any:
        return {k: split(v) for k, v in value.items()} if isinstance(value, dict) else value.split()

    return {k: split(v) for k, v in _toml("names.toml").items()}


@cache
def phrases() -> dict[str, Any]:
    return _toml("phrases.toml")


@cache
def attributes() -> dict[str, tuple[Attribute, ...]]:
    """Attributes by entity type, in file order."""
    out: dict[str, tuple[Attribute, ...]] = {}
    index = 0
    for kind, table in _toml("attributes.toml").items():
        rows = []
        for name, row in table.items():
            lists = {key: tuple(row[key]) for key in ("says", "asks", "tells", "notes")}
            rows.append(Attribute(kind, name, index, row["kind"], row["noun"], row.get("value", "{V}"), **lists))
            index += 1
        out[kind] = tuple(rows)
    return out


def sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def fill(template: str, subject: str, value: str = "") -> str:
    """`template` with {N} and {V} replaced, and "a" changed to "an" before a vowel."""
    if value[:1] in "aeiou" and value:
        template = template.replace("a {V}", "an {V}")
    return template.replace("{N}", subject).replace("{V}", value)


def questions(attribute: Attribute, *, held_out: bool) -> tuple[str, ...]:
    """Question templates of `attribute`: those used in training, or the two held out for it.

    Each template is held out for some attributes and used for the others, so that its words are always known.
    """
    made = phrases()["questions"]
    out = {attribute.index % len(made), (attribute.index + 3) % len(made)}
    chosen = [q.replace("{noun}", attribute.noun) for i, q in enumerate(made) if (i in out) == held_out]
    return tuple(chosen) if held_out else attribute.asks + tuple(chosen)


def statements(attribute: Attribute) -> tuple[str, ...]:
    """Explicit statement templates; the last one is made from the noun and cannot take a pronoun."""
    return (*attribute.says, f"The {attribute.noun} of {{N}} is {attribute.value}.")


def name_split(beginning: str, ending: str) -> NameSplit:
    """Which split the name `beginning + ending` belongs to, when it names an entity."""
    return _SPLIT_OF_RESIDUE.get(zlib.crc32((beginning + ending).encode()) % _NAME_RESIDUES, "pretraining")


class World:
    """Draws entities, facts and texts from one random stream; entity names come from one split only."""

    def __init__(self, rng: random.Random, split: NameSplit = "pretraining", notes: float = NOTE_SHARE) -> None:
        self.rng = rng
        self.split = split
        self.notes = notes

    # names and values

    def name(self, ending: str, *, entity: bool = False) -> str:
        while True:
            first, last = self.rng.choice(names()["beginnings"]), self.rng.choice(names()["endings"][ending])
            if not entity or name_split(first, last) == self.split:
                return str(first + last)

    def value(self, kind: str) -> str:
        """A value of `kind`; names used as values are drawn from all splits."""
        rng, words = self.rng, names()
        match kind:
            case "place" | "brand":
                return self.name(kind)
            case "person":
                return f"{rng.choice(words['first']['he'] + words['first']['she'])} {self.name('surname')}"
            case "year":
                return f"{rng.randint(14, 19)}{rng.randint(10, 99)}"
            case "number":
                return str(rng.randint(2, 99))
            case "thing":
                return f"the {rng.choice(words['thing']['first'])} {rng.choice(words['thing']['second'])}"
        return str(rng.choice(words["closed"][kind]))

    def other_value(self, fact: Fact, facts: Sequence[Fact]) -> str:
        """A wrong value for `fact`: often the right one of another fact of the same kind."""
        same = [f.value for f in facts if f.attribute.kind == fact.attribute.kind and f.value != fact.value]
        if same and self.rng.random() < 0.6:
            return self.rng.choice(same)
        while (value := self.value(fact.attribute.kind)) == fact.value:
            pass
        return value

    def entity(self, type: str | None = None) -> Entity:
        rng, words = self.rng, names()
        type = type or rng.choice(list(attributes()))
        if type == "person":
            gender = rng.choice(["he", "she"])
            name = f"{rng.choice(words['first'][gender])} {self.name('surname', entity=True)}"
            return Entity(type, name, name, sentence(gender))
        if type == "town":
            name = self.name("place", entity=True)
            return Entity(type, name, name, "It")
        if type == "battle":
            name = f"Battle of {self.name('place', entity=True)}"
            return Entity(type, name, f"the {name}", "It")
        name = self.name("brand", entity=True)
        if type == "ship":
            return Entity(type, name, f"the ship {name}", "It")
        name = f"{name} {rng.choice(words['sort'][type])}"
        return Entity(type, name, name if type == "company" else f"the {name}", "It")

    def title(self) -> str:
        return f"Page {self.rng.randint(10, 99)}{self.rng.randint(10, 99)}"

    def facts(self, entities: Sequence[Entity], each: int) -> list[Fact]:
        """`each` facts of every entity, in random order, all values different, few of one kind."""
        out: list[Fact] = []
        for entity in entities:
            pool = list(attributes()[entity.type])
            self.rng.shuffle(pool)
            taken = 0
            for attribute in pool:
                kinds = sum(f.attribute.kind == attribute.kind for f in out)
                if taken == each or kinds >= MAX_OF_KIND.get(attribute.kind, 2):
                    continue
                while (value := self.value(attribute.kind)) in {f.value for f in out}:
                    pass
                out.append(Fact(entity, attribute, value))
                taken += 1
        self.rng.shuffle(out)
        return out

    # texts

    def statement(self, fact: Fact, *, pronoun: bool = False, value: str | None = None) -> str:
        templates = fact.attribute.says if pronoun else statements(fact.attribute)
        subject = fact.entity.pronoun if pronoun else fact.entity.subject
        return sentence(fill(self.rng.choice(templates), subject, value or fact.value))

    def question(self, fact: Fact, *, held_out: bool = False) -> str:
        templates = questions(fact.attribute, held_out=held_out)
        return sentence(fill(self.rng.choice(templates), fact.entity.subject))

    def vague(self, entity: Entity) -> str:
        return sentence(fill(self.rng.choice(phrases()["vague"]), entity.subject))

    def told(self, facts: Sequence[Fact]) -> list[str]:
        """One sentence for each fact, in the style of passages."""
        rng, last, out = self.rng, None, []
        for fact in facts:
            templates = fact.attribute.notes if rng.random() < self.notes else fact.attribute.tells
            again = fact.entity == last and rng.random() < SAME_SHARE
            subject = phrases()["same"][fact.entity.type] if again else fact.entity.subject
            text = fill(rng.choice(templates), subject, fact.value) + "."
            if rng.random() < HEDGE_SHARE:
                text = rng.choice(phrases()["hedges"]) + text
            out.append(sentence(text))
            last = fact.entity
        return out

    def render(self, facts: Sequence[Fact]) -> Page:
        """A page that states `facts` in this order."""
        sentences = self.told(facts)
        text = " ".join(sentences)
        if self.rng.random() < INTRO_SHARE:
            subjects = list(dict.fromkeys(f.entity.subject for f in facts))
            self.rng.shuffle(subjects)
            listed = ", ".join(subjects[:-1]) + " and " + subjects[-1] if len(subjects) > 1 else subjects[0]
            text = f"{self.rng.choice(phrases()['intros'])} {listed}. {text}"
        return Page(self.title(), tuple(facts), tuple(sentences), text)

    def page(self, entities: int = 3, each: int = 2) -> Page:
        """A page about `entities` entities of different types, with `each` facts about each of them."""
        types = self.rng.sample(list(attributes()), entities)
        return self.render(self.facts([self.entity(type) for type in types], each))
