"""The engine: one frozen base on which many adapters are trained, decoded and scored together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from transformers import PreTrainedModel

from .adapter import Adapter, Targets, init_lora, resolve_targets
from .forward import FrozenModel
from .generate import generate
from .jobs import Generated, GenerationRow
from .memory import MemoryPlan
from .score import HiddenRow, ScoreRow, hidden, logprobs


class Engine:
    """Runs everything on `model`, whose weights it never changes; device and dtype are the model's.

    Between calls the model is an ordinary transformers model (in eval mode, without gradients): nothing stays patched.

    Raises:
        ValueError: the model is not a causal LM made of plain `nn.Linear` and `nn.Embedding` (the message names the
            module), or is spread over several devices.
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
        """The adapter a job with these settings starts from (see `adapter.init_lora`)."""
        return init_lora(self.model, rank=rank, alpha=alpha, targets=targets, seed=seed)

    def generate(self, rows: Sequence[GenerationRow]) -> list[Generated]:
        """Complete every row under its own adapter stack; results in the order of `rows`, independent of that order."""
        return generate(self._frozen, self.plan, rows, self.eos_token_ids)

    def logprobs(
        self, rows: Sequence[ScoreRow | tuple[tuple[int, ...], tuple[int, ...], tuple[Adapter, ...]]]
    ) -> list[list[float]]:
        """Natural-log probability of each continuation token; rows are (prompt ids, continuation ids, adapters)."""
        return logprobs(self._frozen, self.plan, [ScoreRow(*row) for row in rows])

    def hidden(
        self,
        rows: Sequence[HiddenRow | tuple[tuple[int, ...], tuple[Adapter, ...]]],
        *,
        layer: int,
        pool: Literal["mean", "last"] = "mean",
    ) -> list[list[float]]:
        """One pooled vector per row of (ids, adapters); `layer` counts as in transformers' `hidden_states`."""
        return hidden(self._frozen, self.plan, [HiddenRow(*row) for row in rows], layer, pool)
