"""ICM (Wen et al. 2025, arXiv 2506.10139): labels that best predict each other, then fine-tuning on them."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from harness.api import Round, Session, State, Trainer
from harness.errors import UsageError
from harness_selection.coherence import Annealing, Coherence, Demonstrations, Found, Item, Rule, search
from harness_selection.learning import Question, gold, labelled, learn, questions

Positive = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class IcmSettings:
    """How items are shown, how labels are searched for, and what is learnt."""

    split: Literal["train", "test"] = "train"
    """Whose items; with ``test`` the method's card must say transductive."""
    batch: Positive = 256
    """Items that are labelled together; later batches are labelled by the model that learnt the earlier ones."""
    labels: Literal["icm", "zero-shot", "random", "oracle"] = "icm"
    """All but ``icm`` are controls; ``zero-shot`` takes the model's own labels without any demonstration."""
    names: tuple[str, str] = (" True", " False")
    """The two labels as the model writes them after an item's prompt: for true, and for false."""
    end: str = "\n\n"
    """What stands after a demonstration's label."""
    key: str = ""
    """Regular expression over an item's question; what it finds (its first group) is what the item claims. "" takes the
    whole question. It never comes from a label: the released code takes that of TruthfulQA from the gold one."""
    rule: Rule = "exclusive"
    """Items of one group with different keys: not both true (``exclusive``), exactly one true (``mirror``), or
    anything (``none``)."""
    demonstrations: Annotated[int, Field(ge=0)] = 0
    """0: an item is predicted from all other labelled items, as released. k: from k items of other blocks, the same for
    a block of k items, so that a pool of n items reads about 2n items and not n squared."""
    start: Literal["random", "zero-shot"] = "random"
    """The first labels: of ``seeds`` random items, half of them true, as in the paper; or the model's own for all items
    without demonstrations, where the same prediction of labels holds for labels turned round."""
    seeds: Positive = 8
    """Items that get a label before the first step, with ``start = "random"``."""
    steps: Positive = 3000
    """Steps of the search per batch."""
    alpha: Annotated[float, Field(gt=0)] = 30.0
    """Weight of mutual predictability against a contradiction."""
    hottest: Annotated[float, Field(gt=0)] = 10.0
    """Temperature of the first step."""
    coldest: Annotated[float, Field(gt=0)] = 0.01
    """Lowest temperature."""
    cooling: Annotated[float, Field(gt=0)] = 2.0
    """T = hottest / (1 + cooling * ln(1 + accepted steps))."""


class Icm(Trainer):
    """Labels a batch of items by search, learns the labels (slot ``sft``), and goes on with the next batch.

    Needs log-probabilities. Prompts are raw text, as a base model reads it.
    """

    Settings = IcmSettings

    def __init__(self, settings: IcmSettings) -> None:
        try:
            self._key = re.compile(settings.key)
        except re.error as error:
            raise UsageError(f"trainer.key: {settings.key!r} is no regular expression: {error}") from error
        if settings.names[0] == settings.names[1]:
            raise UsageError(f"trainer.names: two different labels are needed, not {settings.names[0]!r} twice")
        self._settings = settings

    def run(self, s: Session, /) -> Iterator[Round]:
        """One checkpoint per batch.

        Raises:
            UsageError: the split has no question.
            RunError: the update was lost.
        """
        own = self._settings
        asked = questions(s, own.split, "icm")
        said = {True: own.names[0], False: own.names[1]}
        for index in range(-(-len(asked) // own.batch)):
            part = asked[index * own.batch : (index + 1) * own.batch]
            metrics: dict[str, Any] = {"items": len(part)}
            labels = self._labels(s, part, index, metrics)
            s.diagnose(f"label, batch {index + 1}", {name: said[label].strip() for name, label in labels.items()})
            end = own.end.rstrip()
            edits = [labelled(s, one, said[labels[one.id]] + end) for one in part if one.id in labels]
            metrics["true"] = sum(labels.values()) / max(1, len(labels))
            metrics |= learn(s, edits, "icm", own.labels, index)
            yield Round(index, dict(s.roles), metrics)

    def _labels(self, s: Session, part: Sequence[Question], index: int, metrics: dict[str, Any]) -> Mapping[str, bool]:
        own = self._settings
        if own.labels == "oracle":
            return gold(s, part, own.names)
        if own.labels == "random":
            rng = random.Random(s.seed("icm", "random", index))
            return {one.id: rng.random() < 0.5 for one in part}
        items = Items(s, s.roles["teacher"], part, own.names, own.end)
        alone = items.score([(place, ()) for place in range(len(part))])
        zero_shot = {place: score > 0 for place, score in enumerate(alone)}
        if own.labels == "zero-shot":
            return {one.id: zero_shot[place] for place, one in enumerate(part)}
        coherence = Coherence(
            [Item(one.episode.group or "", self._claimed(one.query.text)) for one in part],
            items.score,
            alpha=own.alpha,
            rule=own.rule,
            most=own.demonstrations,
        )
        how = Annealing(own.alpha, own.steps, own.seeds, own.hottest, own.coldest, own.cooling)
        found = search(coherence, how, s.seed("icm", index), zero_shot if own.start == "zero-shot" else None)
        metrics |= _told(found, coherence, zero_shot)
        return {one.id: found.labels[place] for place, one in enumerate(part)}

    def _claimed(self, question: str) -> str:
        if not self._settings.key:
            return question
        found = self._key.search(question)
        if found is None:
            raise UsageError(f"trainer.key: {self._settings.key!r} finds nothing in {question!r:.80}")
        return found[1] if found.groups() else found[0]


class Items:
    """Items as a model reads them, after demonstrations."""

    def __init__(self, s: Session, state: State, asked: Sequence[Question], names: tuple[str, str], end: str) -> None:
        self._lm, self._state, self._names, self._end = s.lm(state), state, names, end
        self._prompts = [str(s.task.prompt(one.query, {}, chat=False)) for one in asked]

    def score(self, asks: Sequence[tuple[int, Demonstrations]]) -> list[float]:
        """Log-probability of true minus that of false, in nats, per (item, demonstrations)."""
        texts = [self._read(demonstrations) + self._prompts[item] for item, demonstrations in asks]
        rows = self._lm.logprobs([(self._state, text, name) for text in texts for name in self._names])
        sums = [sum(row) for row in rows]
        return [true - false for true, false in zip(sums[::2], sums[1::2], strict=True)]

    def _read(self, demonstrations: Demonstrations) -> str:
        return "".join(
            f"{self._prompts[item]}{self._names[0] if label else self._names[1]}{self._end}"
            for item, label in demonstrations
        )


def _told(found: Found, coherence: Coherence, zero_shot: Mapping[int, bool]) -> dict[str, Any]:
    return {
        "utility": found.utility,
        "utility_zero_shot": coherence.utility(zero_shot),
        "accepted": found.accepted,
        "repaired": found.repaired,
        "contradictions": len(coherence.broken(found.labels)),
        "as_zero_shot": sum(found.labels[place] == label for place, label in zero_shot.items()) / len(zero_shot),
    }
