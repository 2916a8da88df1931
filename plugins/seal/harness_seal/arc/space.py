"""Configuration spaces: what a model may choose, as a strict schema, and how its choice becomes an edit."""

from __future__ import annotations

import abc
import importlib
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.api import JSON, Data, EditFailed, Recipe
from harness.errors import UsageError


@dataclass(frozen=True)
class Budget:
    """The limits that the run sets for every edit, whatever the model chose."""

    chat: bool
    """Whether the learner is an instruct model."""
    max_epochs: int
    """Cap on an edit's epochs; 0 means none."""
    max_steps: int
    """An edit of more optimiser steps is invalid; 0 means no limit."""
    batch_size: int


class Choice(BaseModel, abc.ABC):
    """A point in a configuration space: subclass it with the fields that a model must write, as strict JSON.

    Unknown, missing and mistyped fields, NaN and values out of range make an answer malformed.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    @abc.abstractmethod
    def edit(self, budget: Budget, /) -> tuple[tuple[Data, ...], JSON]:
        """The training data, and the updater's settings.

        Raises:
            EditFailed: the choice exceeds the budget.
        """


class DataGeneration(BaseModel):
    model_config = Choice.model_config

    use_basic_augmentations: bool
    use_size_augmentations: bool
    use_chain_augmentations: bool
    use_repeat_augmentations: bool


class Training(BaseModel):
    model_config = Choice.model_config

    strategy: Literal["train_using_all_tokens", "train_using_output_tokens"]
    learning_rate: float = Field(gt=0, le=0.1)
    num_train_epochs: int = Field(ge=1, le=100)


class ArcChoice(Choice):
    """SEAL's space: four groups of augmentations, the tokens in the loss, learning rate, epochs (section 3.2).

    The ranges are ours; the published code checks none, and treats a configuration that it cannot use as no training
    at all, which counts as unsolved. Here that is a failed edit, which counts as unsolved too.
    """

    data_generation: DataGeneration
    training: Training

    def edit(self, budget: Budget, /) -> tuple[tuple[Data, ...], JSON]:
        chosen = self.data_generation
        groups = ("basic", "size", "chain", "repeat")
        epochs = min(self.training.num_train_epochs, budget.max_epochs or self.training.num_train_epochs)
        args = {
            "augment": [name for name in groups if getattr(chosen, f"use_{name}_augmentations")],
            "epochs": epochs,
            "batch_size": budget.batch_size,
            "max_steps": budget.max_steps,
            "chat": budget.chat,
        }
        settings = {
            "learning_rate": self.training.learning_rate,
            "epochs": epochs,
            "loss_on": "all" if self.training.strategy == "train_using_all_tokens" else "target",
        }
        return (Recipe("ttt", args),), settings


def load_space(name: str) -> type[Choice]:
    """The space ``module:Class``.

    Raises:
        UsageError: there is no such class.
    """
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"editor arc-config: no configuration space {name!r} (write module:Class): {error}") from None
    if not (isinstance(found, type) and issubclass(found, Choice)):
        raise UsageError(f"editor arc-config: {name} is not a subclass of {Choice.__module__}:{Choice.__qualname__}")
    return found


def read_choice(space: type[Choice], text: str) -> Choice:
    """The choice that a model wrote: one JSON object and nothing else but white space.

    Raises:
        EditFailed: the text is malformed; the message names its first fault.
    """
    try:
        return space.model_validate_json(text.strip())
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            raise EditFailed(f"not JSON: {first['ctx']['error']}") from None
        raise EditFailed(f"{'.'.join(map(str, first['loc'])) or 'configuration'}: {first['msg']}") from None
