"""Training data as token ids with loss weights, and the settings they are trained with.

The text is the task's business and the arithmetic the engine's; here lies what is between them: which tokens are in the
loss, what ends a sequence, and that nothing is ever cut silently.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harness.api import JSON, Data, EditFailed, Example, Preference, Rollout
from harness.components import check_settings
from harness.engine import HyperParameters, Padding, TrainSequence
from harness.errors import UsageError, nearest
from harness.models.prompts import PromptEncoder

_NAMED_TARGETS = {"qv": ("q_proj", "v_proj")}


@dataclass(frozen=True)
class TrainSettings:
    """A LoRA fine-tune. Defaults: SEAL's single-passage update (arXiv 2506.10943, appendix B), save ``pad_loss``."""

    rank: int = 32
    alpha: float = 64.0
    """The adapter's output is scaled by ``alpha / rank``."""
    targets: str | tuple[str, ...] = "qv"
    """``qv`` (query and value projections), ``all-linear`` (all but the output head), or a list of module suffixes."""
    learning_rate: float = 1e-3
    epochs: int = 10
    batch_size: int = 1
    grad_accumulation: int = 1
    weight_decay: float = 0.0
    clip: float = 1.0
    """Largest norm of an adapter's gradient; 0 is none."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """``linear`` and ``cosine`` decay to 0."""
    warmup_steps: int = 0
    pad_loss: Literal["reference", "single_eos", "none"] = "single_eos"
    """What follows a sequence: one end-of-text token in the loss, none, or, as the published code has it, end-of-text
    tokens up to ``max_length``, all in the loss."""
    pad_nodes: int = 8
    """How many positions of a ``reference`` padding are computed a step, to estimate all of them without bias; a number
    of at least ``max_length`` computes every one."""
    loss_on: Literal["target", "all"] = "target"
    """Whether prompts are in the loss too."""
    max_length: int = 2048
    """Tokens of the longest sequence; a longer one fails its edit. The model's own limit holds as well."""


def train_settings(settings: JSON, where: str) -> TrainSettings:
    """Settings from a job's JSON.

    Raises:
        UsageError: a key that does not exist.
        EditFailed: a value that cannot be trained with.
    """
    known = [field.name for field in dataclasses.fields(TrainSettings)]
    for key in settings:
        if key not in known:
            raise UsageError(f"{where}: no such training setting {key!r}.{nearest(key, known)}")
    try:
        found = check_settings(TrainSettings, settings, where, "training")
    except (UsageError, ValueError) as error:
        raise EditFailed(f"settings: {error}") from error
    assert isinstance(found, TrainSettings)
    problem = hyper_parameters(found).problem()
    if problem:
        raise EditFailed(f"settings: {problem}")
    if found.max_length < 2 or found.pad_nodes < 1:
        raise EditFailed("settings: max_length must be at least 2 and pad_nodes at least 1")
    return found


def hyper_parameters(settings: TrainSettings) -> HyperParameters:
    """The engine's part of the settings."""
    names = {field.name for field in dataclasses.fields(HyperParameters)} & set(vars(settings)) - {"targets"}
    targets = settings.targets
    if isinstance(targets, str) and targets != "all-linear":
        targets = _NAMED_TARGETS.get(targets, (targets,))
    return HyperParameters(targets=targets, **{name: getattr(settings, name) for name in sorted(names)})


class Encoder:
    """Turns one job's data into training sequences.

    Args:
        prompts: the model's.
        positions: the longest sequence that the model can take.
    """

    def __init__(self, prompts: PromptEncoder, positions: int) -> None:
        self._prompts = prompts
        self._positions = positions

    def sequences(self, data: Sequence[Data], settings: TrainSettings) -> tuple[TrainSequence, ...]:
        """All sequences of a job, in the order of its data.

        Raises:
            EditFailed: no data, an empty or over-long sequence (``context length 700 > 512``), or a kind that cannot be
                trained on.
        """
        found = [sequence for place, item in enumerate(data) for sequence in self._of(item, place, settings)]
        if not found:
            raise EditFailed("nothing to train on")
        return tuple(found)

    def _of(self, item: Data, place: int, settings: TrainSettings) -> list[TrainSequence]:
        if isinstance(item, Example):
            before, after = self._split(item.prompt, item.target, settings)
            end, padding = self._prompts.end_token_id, None
            if settings.pad_loss == "reference" and end is not None:
                padding = Padding(min(settings.max_length, self._positions), end, settings.pad_nodes)
            return [self._sequence(before, after, item.weight, settings, padding)]
        if isinstance(item, Preference):
            sides = []
            for side, text in (("chosen", item.chosen), ("rejected", item.rejected)):
                before, after = self._split(item.prompt, text, settings)
                meta = {"side": side, "weight": item.weight}
                sides.append(self._sequence(before, after, 1.0, settings, None, f"pair {place}", meta))
            return sides
        if isinstance(item, Rollout):
            before, after = self._action(item)
            meta = {"advantage": item.advantage, "logprobs": item.action.logprobs}
            return [self._sequence(before, after, 1.0, settings, None, item.group, meta)]
        raise EditFailed(f"a LoRA fine-tune cannot learn from {type(item).__name__}")

    def _split(self, prompt: Any, target: str, settings: TrainSettings) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Ids before and in the target, with what ends it."""
        if not target.strip():
            raise EditFailed("an empty training target")
        if prompt:
            before, after = self._prompts.continuation_ids(prompt, target)
        else:
            before, after = (), self._prompts.text_ids(target)
        end = self._prompts.end_token_id
        if settings.pad_loss == "single_eos" and end is not None:
            after = (*after, end)
        return before, after

    def _action(self, item: Rollout) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Ids of a sampled action: the very tokens that were sampled, where they are known."""
        action = item.action
        if action.tokens is None:
            before, after = self._prompts.continuation_ids(action.request.prompt, action.text)
        else:
            before, after = self._prompts.prompt_ids(action.request.prompt), tuple(action.tokens)
        end = self._prompts.end_token_id
        if action.finish == "stop" and end is not None and not self._cut_by_stop(item):
            after = (*after, end)
        if not after:
            raise EditFailed("a rollout without tokens")
        return before, after

    def _cut_by_stop(self, item: Rollout) -> bool:
        tokens = item.action.tokens
        written = item.action.text if tokens is None else self._prompts.decode(tokens)
        return any(mark and mark in written for mark in item.action.request.stop)

    def _sequence(
        self,
        before: tuple[int, ...],
        after: tuple[int, ...],
        weight: float,
        settings: TrainSettings,
        padding: Padding | None,
        group: str | None = None,
        meta: dict[str, Any] | None = None,
    ) -> TrainSequence:
        limit = min(settings.max_length, self._positions)
        length = len(before) + len(after)
        if length > limit:
            raise EditFailed(f"context length {length} > {limit}")
        if length < 2:
            raise EditFailed("a training sequence of a single token")
        masked = 0.0 if settings.loss_on == "target" else weight
        weights = (masked,) * len(before) + (weight,) * len(after)
        return TrainSequence(before + after, weights, padding, group, meta or {})
