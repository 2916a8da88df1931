"""SimPLE (Ge et al. 2023, arXiv 2305.17197): pseudo-labels by votes of those dropout passes that neighbours support."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from harness.api import Dropout, Round, Session, Trainer
from harness.errors import UsageError
from harness_selection.learning import Question, embedder, gold, labelled, learn, questions
from harness_selection.reliability import decided, reliable, suspicion

Positive = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class SimpleSettings:
    """How items are labelled, and what is learnt."""

    split: Literal["train", "test"] = "train"
    """Whose questions; with ``test`` the method's card must say transductive."""
    labels: Literal["simple", "plain", "voted", "oracle"] = "simple"
    """All but ``simple`` are controls: ``plain`` takes the labels of the pass without dropout, ``voted`` those of most
    dropout passes, reliable or not, ``oracle`` the right ones."""
    names: tuple[str, str] = (" True", " False")
    """The two labels as the model writes them after a question's prompt: for true, and for false."""
    end: str = ""
    """What stands after a label in the training data."""
    passes: Positive = 7
    """Dropout passes per question; the paper has 7, and 5 for tasks of several classes."""
    dropout: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Probability that a unit which a linear layer reads is left out."""
    neighbours: Annotated[int, Field(ge=2)] = 9
    """k of the graph: nodes nearer than the k-th nearest are neighbours, which are k - 1 with the node itself."""
    layer: int = -1
    """Whose states are compared: -1 is the last, 0 the embedding."""
    pool: Literal["mean", "last"] = "last"
    """Which of a prompt's states: the last token's, which the label is predicted from, or their mean."""
    embedder: bool = False
    """Whether states are those of the role ``embedder``, such as a sentence encoder, in place of the passes' own. All
    passes of a question then stand in one place, and what tells them apart is their labels alone."""
    drop: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Share of the passes that are called unreliable."""
    unsure: bool = True
    """Whether items without a reliable pass are learnt too, with the label of the pass without dropout, as released."""
    noise: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """A study of noisy annotation: the model first learns the right labels (slot ``evaluator``, which costs them) with
    this share of them turned round at random, and labels the same questions then. 0 begins with the model as it is."""


class Simple(Trainer):
    """Labels all questions of a split and learns the labels (slot ``sft``). Needs dropout passes and hidden states."""

    Settings = SimpleSettings

    def __init__(self, settings: SimpleSettings) -> None:
        if settings.names[0] == settings.names[1]:
            raise UsageError(f"trainer.names: two different labels are needed, not {settings.names[0]!r} twice")
        self._settings = settings
        self.rounds = 1

    def run(self, s: Session, /) -> Iterator[Round]:
        """One checkpoint.

        Raises:
            UsageError: the split has no question, or the model can do no dropout passes.
            RunError: the update was lost.
        """
        own = self._settings
        asked = questions(s, own.split, "simple")
        metrics: dict[str, Any] = {"items": len(asked)}
        said = {True: own.names[0], False: own.names[1]}
        if own.noise:
            given = self._noisy(s, asked)
            s.diagnose("noisy label", {name: said[label].strip() for name, label in given.items()})
            learn(s, [labelled(s, one, said[given[one.id]] + own.end) for one in asked if one.id in given], "noisy")
        labels = self._labels(s, asked, metrics)
        s.diagnose("label", {name: said[label].strip() for name, label in labels.items()})
        edits = [labelled(s, one, said[labels[one.id]] + own.end) for one in asked if one.id in labels]
        metrics |= learn(s, edits, "simple", own.labels)
        yield Round(0, dict(s.roles), metrics)

    def _noisy(self, s: Session, asked: Sequence[Question]) -> dict[str, bool]:
        """The right labels, a share of them turned round."""
        right = gold(s, asked, self._settings.names, "evaluator")
        turned = random.Random(s.seed("simple", "noise")).sample(list(right), int(self._settings.noise * len(right)))
        return {name: label != (name in turned) for name, label in right.items()}

    def _labels(self, s: Session, asked: Sequence[Question], metrics: dict[str, Any]) -> Mapping[str, bool]:
        own = self._settings
        if own.labels == "oracle":
            return gold(s, asked, own.names)
        plain = self._said(s, asked, None)
        if own.labels == "plain":
            return {one.id: label for one, label in zip(asked, plain, strict=True)}
        passes = [Dropout(own.dropout, s.seed("simple", number)) for number in range(own.passes)]
        votes = [self._said(s, asked, one) for one in passes]
        flat = [label for row in votes for label in row]
        metrics["as_plain"] = float(np.mean([a == b for row in votes for a, b in zip(row, plain, strict=True)]))
        trusted = np.ones((len(passes), len(asked)), dtype=bool)
        if own.labels == "simple":
            vectors = np.asarray([row for one in passes for row in self._states(s, asked, one)], dtype=np.float64)
            trusted = reliable(suspicion(vectors, flat, own.neighbours), own.drop).reshape(trusted.shape)
            self._diagnose(s, asked, votes, trusted)
            metrics["without_reliable_pass"] = float(np.mean(~trusted.any(axis=0)))
        labels = {
            one.id: decided([row[place] for row in votes], trusted[:, place].tolist(), plain[place])
            for place, one in enumerate(asked)
        }
        metrics["changed"] = float(np.mean([labels[one.id] != a for one, a in zip(asked, plain, strict=True)]))
        if not own.unsure:
            labels = {one.id: labels[one.id] for place, one in enumerate(asked) if trusted[:, place].any()}
        return labels

    def _said(self, s: Session, asked: Sequence[Question], dropout: Dropout | None) -> list[bool]:
        """Which label every question gets in one pass."""
        state, lm = s.roles["teacher"], s.lm("teacher")
        prompts = [s.task.prompt(one.query, {}, chat="chat" in lm.can) for one in asked]
        asks = [(state, prompt, name) for prompt in prompts for name in self._settings.names]
        sums = [sum(row) for row in lm.logprobs(asks, dropout=dropout)]
        return [true > false for true, false in zip(sums[::2], sums[1::2], strict=True)]

    def _states(self, s: Session, asked: Sequence[Question], dropout: Dropout) -> Sequence[Sequence[float]]:
        own = self._settings
        who = embedder(s) if own.embedder else s.roles["teacher"]
        asks = [(who, str(s.task.prompt(one.query, {}, chat=False))) for one in asked]
        return s.lm(who).hidden(asks, layer=own.layer, pool=own.pool, dropout=None if own.embedder else dropout)

    def _diagnose(
        self, s: Session, asked: Sequence[Question], votes: Sequence[Sequence[bool]], trusted: np.ndarray[Any, Any]
    ) -> None:
        """Whether kept passes are right more often than dropped ones: one pass per question of either kind."""
        for name, wanted in (("kept", True), ("dropped", False)):
            found = {}
            for place, one in enumerate(asked):
                mine = [row[place] for row, yes in zip(votes, trusted, strict=True) if yes[place] == wanted]
                if mine:
                    found[one.id] = self._settings.names[0 if mine[0] else 1].strip()
            s.diagnose(f"{name} pass", found)
