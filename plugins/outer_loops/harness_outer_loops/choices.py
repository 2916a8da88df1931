"""The editor ``implications-and-settings``: the policy writes what to learn, and then how to learn it.

SEAL's edits on ARC choose their own learning rate, epochs and loss (arXiv 2506.10943, section 3.2), those on passages
do not. Here they do: after its text the policy says one value of each menu, by its own probabilities of the menu's
values (decoding constrained to the menu, so that no choice is malformed or out of bounds). Each is an action of the
edit, with the text before it as its prompt, so that any outer loop trains the choice as it trains the text.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal

from harness_seal.editors import Prompted, PromptedSettings
from pydantic import Field

from harness.api import Completion, EditAsk, Prompt, Request, SelfEdit, Session
from harness.errors import UsageError

_Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
CUES: Mapping[str, str] = {"learning_rate": "Learning rate:", "epochs": "Epochs:", "loss_on": "Loss on:"}


@dataclass(frozen=True)
class ChoosingSettings(PromptedSettings):
    """The menus, and how a value is drawn from one. A menu of one value is not asked."""

    learning_rates: tuple[_Rate, ...] = (3e-4, 1e-3, 3e-3)
    """The menu of learning rates."""
    epochs: tuple[Annotated[int, Field(ge=1)], ...] = (5, 10, 20)
    """The menu of epochs."""
    losses: tuple[Literal["target", "all"], ...] = ("target",)
    """Whether prompts within the training sequences are in the loss; passages have none."""
    floor: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of the draws that are uniform over the menu, so that no value dies out before it was tried."""


class ChoosesSettings(Prompted):
    """Edits of the prompt ``implications`` with settings of their own, which the updater must let an edit choose."""

    Settings: ClassVar[type[ChoosingSettings]] = ChoosingSettings

    def __init__(self, settings: ChoosingSettings) -> None:
        super().__init__(settings)
        menus: dict[str, Sequence[Any]] = {
            "learning_rate": settings.learning_rates, "epochs": settings.epochs, "loss_on": settings.losses,
        }  # fmt: skip
        empty = [name for name, menu in menus.items() if not menu]
        if empty:
            raise UsageError(f"editor implications-and-settings: the menu of {empty[0]} is empty")
        self._menus = {name: menu for name, menu in menus.items() if len(menu) > 1}
        self._fixed = {name: menu[0] for name, menu in menus.items() if len(menu) == 1 and name != "loss_on"}
        self._floor = settings.floor

    def propose(self, asks: Sequence[EditAsk], s: Session, /) -> Sequence[Sequence[SelfEdit]]:
        """The texts as the prompt alone would have them, each with its choices.

        Raises:
            UsageError: the model gives no log-probabilities of a given text.
        """
        if asks and "logprobs" not in s.lm(asks[0].state).can:
            raise UsageError("editor implications-and-settings needs a model that gives log-probabilities (hf)")
        rows = [list(row) for row in super().propose(asks, s)]
        places = [(i, n) for i, row in enumerate(rows) for n, edit in enumerate(row) if edit.status == "ok"]
        for i, n in places:
            rows[i][n] = replace(rows[i][n], settings=self._fixed)
        for name, menu in self._menus.items():
            chosen = self._choose(name, menu, [rows[i][n] for i, n in places], [asks[i].seed for i, _ in places], s)
            for (i, n), edit in zip(places, chosen, strict=True):
                rows[i][n] = edit
        return rows

    def _choose(
        self, name: str, menu: Sequence[Any], edits: Sequence[SelfEdit], seeds: Sequence[int], s: Session
    ) -> list[SelfEdit]:
        """The edits with one more choice each; all menus' values of all edits are scored in one call."""
        labels = [f" {value}" for value in menu]
        prompts = [_after(edit.actions, CUES[name]) for edit in edits]
        if not edits:
            return []
        state = edits[0].actions[0].request.state
        asked = [
            (edit.actions[0].request.state, p, one) for edit, p in zip(edits, prompts, strict=True) for one in labels
        ]
        scores = iter(sum(row) for row in s.lm(state).logprobs(asked))
        out = []
        for edit, prompt, seed in zip(edits, prompts, seeds, strict=True):
            shares = _shares([next(scores) for _ in labels], self._floor)
            draw = random.Random(s.seed("choice", seed, edit.id, name))
            at = draw.choices(range(len(menu)), weights=shares)[0]
            # The stop keeps the end of text out of what is learnt: another choice may follow.
            request = Request(edit.actions[0].request.state, prompt, 1, 1.0, max_tokens=8, stop=("\n",), seed=seed)
            said = Completion(request, labels[at], cost={"share": shares[at]})
            out.append(replace(edit, settings={**edit.settings, name: menu[at]}, actions=(*edit.actions, said)))
        return out


def _after(actions: Sequence[Completion], cue: str) -> Prompt:
    """A prompt that goes on from all that was written so far."""
    last = actions[-1]
    before = last.request.prompt
    if isinstance(before, str):
        return f"{before}{last.text}\n{cue}"
    return (*before, ("assistant", last.text), ("user", cue))


def _shares(scores: Sequence[float], floor: float) -> list[float]:
    """Probabilities of the values, given that one of them is said, mixed with a uniform draw."""
    top = max(scores)
    weights = [math.exp(score - top) for score in scores]
    total = sum(weights)
    return [(1 - floor) * weight / total + floor / len(weights) for weight in weights]
