"""Encodes training data as token ids with loss weights, and settings as the engine's hyper-parameters.

The task decides the text, and the engine does the arithmetic. This module decides which tokens are in the loss and what
ends a sequence, and it refuses over-long sequences instead of truncating them unless it is told to.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from harness.api import Data, Distillation, EditFailed, Example, Preference, Prompt, Rollout
from harness.engine import Dpo, Grpo, HyperParameters, Loss, Padding, Rloo, Sft, TrainSequence
from harness.models.prompts import PromptEncoder
from harness.models.train_settings import FitSettings

_ANY = (Example, Preference, Rollout)
_LEARNS_FROM = {"sft": (Example, Distillation), "dpo": (Preference,), "grpo": (Rollout,), "rloo": (Rollout,)}
_NAMED_TARGETS = ("all-linear", "qv")


def hyper_parameters(settings: FitSettings, **other: Any) -> HyperParameters:
    """The engine's hyper-parameters, from the settings of the same names; ``other`` supplies further ones."""
    names = {field.name for field in dataclasses.fields(HyperParameters)}
    values = {name: value for name, value in vars(settings).items() if name in names}
    targets = values.get("targets")
    if isinstance(targets, str) and targets not in _NAMED_TARGETS:
        values["targets"] = (targets,)
    return HyperParameters(**values, **other)


def engine_loss(loss: str | Mapping[str, Any] | Loss) -> str | Loss:
    """What the engine takes: a name, or a loss; a table ``{use = name, ...}`` becomes the loss with these settings."""
    if not isinstance(loss, Mapping):
        return loss
    kinds: dict[str, type[Sft] | type[Dpo] | type[Grpo] | type[Rloo]]
    kinds = {"sft": Sft, "dpo": Dpo, "grpo": Grpo, "rloo": Rloo}
    return kinds[loss["use"]](**{name: value for name, value in loss.items() if name != "use"})


@dataclass(frozen=True)
class Taught:
    """``meta["taught"]`` of a sequence: whose distributions it learns, which the model then computes."""

    teacher: Literal["start", "base"]
    prompt: tuple[int, ...]
    """What the teacher reads before the target."""
    target: tuple[int, ...]
    top: int


class Encoder:
    """Turns one job's data into training sequences.

    Args:
        prompts: the model's prompt encoder.
        positions: the most tokens that a sequence of the model can have.
    """

    def __init__(self, prompts: PromptEncoder, positions: int) -> None:
        self._prompts = prompts
        self._positions = positions

    def sequences(
        self, data: Sequence[Data], settings: FitSettings, loss: str | Any = "sft"
    ) -> tuple[TrainSequence, ...]:
        """All sequences of a job, in the order of its data.

        Raises:
            EditFailed: no data, an empty or over-long sequence (``context length 700 > 512``), or a kind of data that
                the loss cannot learn from.
        """
        name = loss.name if isinstance(loss, Sft | Dpo | Grpo | Rloo) else loss if isinstance(loss, str) else "own"
        for item in data:
            if not isinstance(item, _LEARNS_FROM.get(name, _ANY)):
                raise EditFailed(f"the loss {name!r} cannot learn from {type(item).__name__}")
        found = [sequence for place, item in enumerate(data) for sequence in self._of(item, place, settings)]
        if not found:
            raise EditFailed("nothing to train on")
        if settings.pad_to == "longest":
            longest = max(len(sequence.ids) for sequence in found)
            found = [replace(one, padding=replace(one.padding, to=longest)) if one.padding else one for one in found]
        return tuple(found)

    def _of(self, item: Data, place: int, settings: FitSettings) -> list[TrainSequence]:
        if isinstance(item, Example):
            before, after = self._split(item.prompt, item.target, settings)
            end, padding = self._prompts.end_token_id, None
            if settings.pad_loss == "reference" and end is not None:
                padding = Padding(min(settings.max_length, self._positions), end, settings.pad_nodes)
            return [self._sequence(before, after, item.weight, settings, padding)]
        if isinstance(item, Distillation):
            before, after = self._split(item.prompt, item.target, settings)
            read, said = before, after
            if item.teacher_prompt is not None:
                read = self._prompts.prompt_ids(item.teacher_prompt)
                said = after if before else after[len(self._prompts.text_ids("")) :]  # no start token in the middle
            if len(read) + len(said) > self._positions:
                raise EditFailed(f"context length of the teacher {len(read) + len(said)} > {self._positions}")
            on_target = replace(settings, loss_on="target")
            told = {"taught": Taught(item.teacher, read, said, item.top)}
            return [self._sequence(before, after, item.weight, on_target, None, None, told)]
        if isinstance(item, Preference):
            sides = []
            for side, text in (("chosen", item.chosen), ("rejected", item.rejected)):
                before, after = self._split(item.prompt, text, settings)
                meta: dict[str, Any] = {"chosen": side == "chosen", "weight": item.weight}
                sides.append(self._sequence(before, after, 1.0, settings, None, f"pair {place}", meta))
            return sides
        if isinstance(item, Rollout):
            before, after = self._action(item)
            meta = {"advantage": item.advantage, "logprobs": item.action.logprobs}
            return [self._sequence(before, after, 1.0, settings, None, item.group, meta)]
        raise EditFailed(f"nothing can be trained on {type(item).__name__}")

    def _split(self, prompt: Prompt, target: str, settings: FitSettings) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The ids before the target, and those of the target with its end token, if it gets one."""
        if not target.strip():
            raise EditFailed("an empty training target")
        if settings.next_header and prompt and not isinstance(prompt, str):
            return self._prompts.answered_ids(prompt, target)
        if prompt:
            before, after = self._prompts.continuation_ids(prompt, target)
        else:
            before, after = (), self._prompts.text_ids(target)
        end = self._prompts.end_token_id
        if settings.pad_loss == "single_eos" and end is not None:
            after = (*after, end)
        return before, after

    def _action(self, item: Rollout) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The ids of the prompt and of the sampled action: exactly the tokens that were sampled, where they are
        known."""
        action = item.action
        if action.tokens is not None:
            before, after = self._prompts.prompt_ids(action.request.prompt), tuple(action.tokens)
        else:
            before, after = self._prompts.continuation_ids(action.request.prompt, action.text)
            end = self._prompts.end_token_id
            if action.finish == "stop" and end is not None and not action.request.stop:
                after = (*after, end)
        if not after:
            raise EditFailed("a rollout without tokens")
        return before, after

    def _sequence(
        self,
        before: tuple[int, ...],
        after: tuple[int, ...],
        weight: float,
        settings: FitSettings,
        padding: Padding | None,
        group: str | None = None,
        meta: dict[str, Any] | None = None,
    ) -> TrainSequence:
        limit = min(settings.max_length, self._positions)
        length = len(before) + len(after)
        if length > limit and settings.overlong == "cut" and len(before) < limit:
            after, length = after[: limit - len(before)], limit
        if length > limit:
            raise EditFailed(f"context length {length} > {limit}")
        if length < 2:
            raise EditFailed("a training sequence of a single token")
        masked = 0.0 if settings.loss_on == "target" else weight
        weights = (masked,) * len(before) + (weight,) * len(after)
        return TrainSequence(before + after, weights, padding, group, meta or {})
