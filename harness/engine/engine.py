"""The engine: one frozen base on which many adapters are trained, decoded and scored together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, TypeVar

import torch

from .adapter import Adapter, Targets, init_lora, resolve_targets
from .distil import Distribution, distributions
from .forward import FrozenModel
from .generate import generate
from .jobs import Generated, GenerationRow, TrainJob, TrainResult
from .memory import MemoryPlan, is_out_of_memory
from .score import HiddenRow, ScoreRow, hidden, likelihoods, logprobs
from .train import train

if TYPE_CHECKING:
    from transformers import PreTrainedModel

T = TypeVar("T")


class Engine:
    """Runs everything on `model`, on its device (or devices, see `split.py`) and in its dtype, and never changes its
    weights.

    Between calls the model is an ordinary transformers model in eval mode, without gradients; nothing stays patched.
    Only the `Conv1D` of GPT-2 stay replaced by the `nn.Linear` that they are (`forward.as_linears`).

    Raises:
        ValueError: the model is not a causal LM made of plain `nn.Linear` and `nn.Embedding` (the message names the
            module), texts that are packed together change each other, or a part of it is offloaded.
    """

    def __init__(
        self, model: PreTrainedModel, *, eos_token_ids: Iterable[int], pad_token_id: int, plan: MemoryPlan | None = None
    ) -> None:
        self._frozen = FrozenModel(model)
        self.eos_token_ids = frozenset(int(token) for token in eos_token_ids)
        self.pad_token_id = pad_token_id
        self.plan = plan or MemoryPlan.resolve(model)

    @property
    def model(self) -> PreTrainedModel:
        return self._frozen.model

    def resolve_targets(self, targets: Targets) -> tuple[str, ...]:
        """The module-name suffixes that `targets` stands for on this model."""
        return resolve_targets(self.model, targets)[1]

    def init_lora(self, *, rank: int, alpha: float, targets: Targets, seed: int) -> Adapter:
        """The adapter that a job with these settings starts from (see `adapter.init_lora`)."""
        return init_lora(self.model, rank=rank, alpha=alpha, targets=targets, seed=seed)

    def generate(self, rows: Sequence[GenerationRow]) -> list[Generated]:
        """Complete every row under its own adapter stack. Results are in the order of `rows`, and do not depend on
        it."""
        done, reduced = self._within_memory(lambda plan: generate(self._frozen, plan, rows, self.eos_token_ids))
        return [replace(one, reduced=True) for one in done] if reduced else done

    def train(self, jobs: Iterable[TrainJob]) -> Iterator[TrainResult]:
        """Train every job's adapter, many at once; one result per job, in the order in which they finish.

        A job that cannot be trained, or that diverges, gives a "failed" result with a reason, never an exception.
        """
        return train(self._frozen, self.plan, jobs)

    def logprobs(
        self, rows: Sequence[ScoreRow | tuple[tuple[int, ...], tuple[int, ...], tuple[Adapter, ...]]]
    ) -> list[list[float]]:
        """Natural-log probability of every continuation token; rows are (prompt ids, continuation ids, adapters)."""
        return self._within_memory(lambda plan: logprobs(self._frozen, plan, [ScoreRow(*row) for row in rows]))[0]

    def likelihoods(self, rows: Sequence[ScoreRow]) -> list[tuple[list[float], bool]]:
        """`logprobs` of every row, and whether greedy decoding would give its continuation."""
        return self._within_memory(lambda plan: likelihoods(self._frozen, plan, rows))[0]

    def distributions(self, rows: Sequence[ScoreRow], *, top: int) -> list[Distribution]:
        """The `top` most probable tokens of each row's model, with log-probabilities, at every continuation token.

        As `meta["teacher"]` of a training sequence, they are what the loss "sft" learns there.
        """
        return self._within_memory(lambda plan: distributions(self._frozen, plan, rows, top))[0]

    def hidden(
        self,
        rows: Sequence[HiddenRow | tuple[tuple[int, ...], tuple[Adapter, ...]]],
        *,
        layer: int,
        pool: Literal["mean", "last"] = "mean",
    ) -> list[list[float]]:
        """One pooled vector of the model's hidden size per row; rows are (ids, adapters). `layer` counts as in
        transformers' `hidden_states`."""
        asked = [HiddenRow(*row) for row in rows]
        return self._within_memory(lambda plan: hidden(self._frozen, plan, asked, layer, pool))[0]

    def _within_memory(self, call: Callable[[MemoryPlan], T]) -> tuple[T, bool]:
        """Run `call` under the plan, and again under a smaller one each time memory runs out. Returns its result, and
        whether the plan was made smaller."""
        plan, reduced = self.plan, False
        while True:
            try:
                return call(plan), reduced
            except (RuntimeError, MemoryError) as error:
                smaller = plan.halved()
                if smaller is None or not is_out_of_memory(error):
                    raise
            plan, reduced = smaller, True
            if self._frozen.device.type == "cuda":
                torch.cuda.empty_cache()
