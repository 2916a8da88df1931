"""Self-edits as a base model would write them: good, partial, vague, redundant, copied and wrong, for each prompt key.

The shares below determine how good the model's own edits are before any selection, and how much a method that selects
can gain: they are part of the definition of `lab-1`, and the model card mentions them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from harness_lab.world.facts import Fact, Page, World, phrases, sentence

STYLES = {
    "implications": 0.28,
    "implications-long": 0.14,
    "implications-very-long": 0.10,
    "rewrite": 0.15,
    "self-qa": 0.17,
    "implications-chain-of-thought": 0.10,
    "no-prompt": 0.06,
}
_LISTS = {"full": 0.24, "part": 0.20, "pronoun": 0.12, "vague": 0.12, "redundant": 0.08, "wrong": 0.08, "copy": 0.16}
_LONG = {"long": 0.40, "part": 0.15, "pronoun": 0.10, "vague": 0.08, "redundant": 0.05, "wrong": 0.10, "copy": 0.12}
_VERY = {"very-long": 0.44, "long": 0.10, "pronoun": 0.12, "vague": 0.10, "wrong": 0.10, "copy": 0.14}
MODES: dict[str, dict[str, float]] = {
    "implications": _LISTS,
    "implications-long": _LONG,
    "implications-very-long": _VERY,
    "implications-chain-of-thought": _LISTS,
    "rewrite": {"retold": 0.50, "retold-pronoun": 0.14, "retold-part": 0.10, "retold-wrong": 0.10, "retold-copy": 0.16},
    "self-qa": {"qa": 0.52, "qa-part": 0.24, "qa-wrong": 0.14, "vague": 0.10},
    "no-prompt": {"vague": 0.40, "copy": 0.30, "redundant": 0.10, "part": 0.15, "pronoun": 0.05},
}


@dataclass(frozen=True)
class Line:
    """One line of an edit; `fact` if it states one, `right` if the value is the true one and the subject is named."""

    text: str
    fact: Fact | None = None
    right: bool = False


@dataclass(frozen=True)
class Edit:
    text: str
    lines: tuple[Line, ...]


class EditWriter:
    """Writes edits about a page, drawing from the world's random stream."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.rng = world.rng

    def write(self, page: Page, style: str, mode: str | None = None) -> Edit:
        modes = MODES[style]
        mode = mode or self.rng.choices(list(modes), list(modes.values()))[0]
        lines = self._lines(page, mode)
        text = "\n".join(line.text for line in lines)
        if style == "implications-chain-of-thought":
            text = f"{self._thoughts(page)}\nImplications:\n{text}"
        elif style == "self-qa" and mode != "vague":
            text = text.removeprefix("Question 1:")
        return Edit(text, tuple(lines))

    def _some(self, facts: Sequence[Fact], low: int, high: int) -> list[Fact]:
        """Between `low` and `high` of `facts`, in their order."""
        count = min(len(facts), self.rng.randint(low, high))
        return [facts[i] for i in sorted(self.rng.sample(range(len(facts)), count))]

    def _state(self, fact: Fact, *, pronoun: bool = False) -> Line:
        return Line(self.world.statement(fact, pronoun=pronoun), fact, right=not pronoun)

    def _misstate(self, fact: Fact, page: Page) -> Line:
        return Line(self.world.statement(fact, value=self.world.other_value(fact, page.facts)), fact)

    def _vague(self, page: Page) -> Line:
        return Line(self.world.vague(self.rng.choice(page.entities)))

    def _lines(self, page: Page, mode: str) -> list[Line]:
        rng, facts = self.rng, page.facts
        match mode:
            case "full":
                return [self._state(f) for f in facts]
            case "long":
                return self._distinct([self._state(f) for f in (*facts, *self._some(facts, 2, 4))])
            case "very-long":
                return self._distinct([self._state(f) for f in (*facts, *facts, *self._some(facts, 0, 2))])
            case "part":
                lines = [self._state(f) for f in self._some(facts, 1, 3)]
                return [*lines, self._vague(page)] if rng.random() < 0.4 else lines
            case "pronoun":
                return [self._state(f, pronoun=True) for f in self._some(facts, 2, 5)]
            case "vague":
                lines = self._distinct([self._vague(page) for _ in range(rng.randint(2, 4))])
                if rng.random() < 0.4:
                    lines.insert(rng.randint(0, len(lines)), self._state(rng.choice(facts)))
                return lines
            case "redundant":
                fact = rng.choice(facts)
                return [self._state(fact) for _ in range(rng.randint(3, 4))]
            case "wrong":
                some = self._some(facts, 3, 6)
                return [self._misstate(f, page) if rng.random() < 0.5 else self._state(f) for f in some]
            case "copy":
                chosen = self._some(facts, 2, 5)
                return [Line(page.sentences[facts.index(f)]) for f in chosen]
        if mode.startswith("qa"):
            return self._questions(page, mode)
        return self._retold(page, mode)

    def _distinct(self, lines: list[Line]) -> list[Line]:
        return list({line.text: line for line in lines}.values())

    def _questions(self, page: Page, mode: str) -> list[Line]:
        lines: list[Line] = []
        for fact in self._some(page.facts, 1, 3) if mode == "qa-part" else page.facts:
            right = mode != "qa-wrong" or self.rng.random() < 0.5
            value = fact.value if right else self.world.other_value(fact, page.facts)
            text = f"Question {len(lines) + 1}: {self.world.question(fact)}\nAnswer: {value}"
            lines.append(Line(text, fact, right))
        return lines

    def _retold(self, page: Page, mode: str) -> list[Line]:
        """Two paragraphs of explicit statements, or the passage's own register once more."""
        if mode == "retold-copy":
            return [Line(" ".join(self.world.told(page.facts)))]
        out = []
        part = self._some(page.facts, 1, 3)
        for facts in [part, part] if mode == "retold-part" else [page.facts, self._some(page.facts, 2, 4)]:
            pronouns = 0.95 if mode == "retold-pronoun" else 0.1
            lines = [
                self._misstate(f, page)
                if mode == "retold-wrong" and self.rng.random() < 0.5
                else self._state(f, pronoun=self.rng.random() < pronouns)
                for f in facts
            ]
            out.append(Line(" ".join(line.text for line in lines)))
        return out

    def _thoughts(self, page: Page) -> str:
        """One to three lines of thought about which facts belong to whom."""
        rng, out = self.rng, []
        for template in rng.sample(phrases()["thoughts"], rng.randint(1, 3)):
            fact = rng.choice(page.facts)
            names = " and ".join(e.subject for e in page.entities)
            nouns = " and ".join(f"the {f.attribute.noun} of {f.entity.subject}" for f in self._some(page.facts, 1, 2))
            text = template.replace("{names}", names).replace("{nouns}", nouns).replace("{noun}", fact.attribute.noun)
            out.append(sentence(text.replace("{N}", fact.entity.subject)))
        return "\n".join(out)


def worth(edit: Edit, page: Page) -> int:
    """Rating from 1 to 5: the share of the page's facts that `edit` states rightly by name, minus half the share of its
    statements that are wrong."""
    right = {line.fact for line in edit.lines if line.right}
    stated = [line for line in edit.lines if line.fact is not None]
    wrong = sum(not line.right for line in stated) / max(1, len(stated))
    return 1 + round(4 * max(0.0, len(right) / len(page.facts) - 0.5 * wrong))
