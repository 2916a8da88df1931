"""What goes into the engine and what comes out: plain frozen records, token ids only (no tokenizer, no text)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from .adapter import Adapter, Targets

if TYPE_CHECKING:
    from .losses import Loss

SCHEDULES = ("linear", "cosine", "constant")
Stop = Sequence[tuple[int, ...]] | Callable[[Sequence[int]], bool]


@dataclass(frozen=True)
class GenerationRow:
    """One completion to draw: base model plus the `adapters` stack, applied in order (empty: the base).

    `temperature` 0 is greedy. Sampling uses one random stream per row, drawn from `seed` alone, so neither its
    neighbours nor its place in the batch change a row. `stop` is either token-id sequences or a callback that is shown
    the row's generated ids after every token and says whether to stop (stop strings are the caller's business).
    """

    prompt: tuple[int, ...]
    adapters: tuple[Adapter, ...] = ()
    max_tokens: int = 64
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop: Stop = ()
    logprobs: bool = False

    def __post_init__(self) -> None:
        if not self.prompt:
            raise ValueError("a generation row needs at least one prompt token")
        if self.temperature < 0 or not 0 < self.top_p <= 1 or self.max_tokens < 0:
            raise ValueError(
                f"temperature must be >= 0, top_p in (0, 1], max_tokens >= 0; got {self.temperature}, {self.top_p}, "
                f"{self.max_tokens}"
            )


@dataclass(frozen=True)
class Generated:
    """Generated ids without the end-of-text token or the stop sequence that ended them.

    `finish` is "stop" (end of text, stop sequence, callback) or "length". `eos` is the end-of-text id where that ended
    the row, else None. `logprobs` has one natural-log probability per id, under the model itself (temperature 1, no
    top-p). `reduced`: memory ran out and the batch was made smaller, so rounding may differ from a run with enough.
    """

    ids: tuple[int, ...]
    finish: Literal["stop", "length"]
    eos: int | None = None
    eos_logprob: float | None = None
    logprobs: tuple[float, ...] | None = None
    reduced: bool = False


@dataclass(frozen=True)
class Padding:
    """Padding positions in the loss, as the published SEAL inner loop trains them (`pad_loss: reference`).

    The sequence counts as padded to `to` tokens with `token`; every padding position is a target, and none is attended
    to. Such a position sees exactly the real tokens, and all of them hold the same token: they differ by their position
    alone. Their mean loss is therefore estimated at `nodes` positions, one drawn uniformly from each of `nodes` equal
    strata (fresh in every step, from the job's seed), weighted by the stratum's size: an unbiased estimate of the exact
    gradient. `nodes` of at least `to - len(ids)` computes every position, exactly.
    """

    to: int
    token: int
    nodes: int = 32


@dataclass(frozen=True)
class TrainSequence:
    """One training sequence. `weights[t]` is the loss weight of predicting `ids[t]` (`weights[0]` has no effect).

    Without `weights` every token counts 1. Sequences with the same `group` always share an optimiser step (a preference
    pair, a group of rollouts); `meta` carries constants for the loss (advantage, reference log-probabilities ...).
    """

    ids: tuple[int, ...]
    weights: tuple[float, ...] | None = None
    padding: Padding | None = None
    group: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.weights is not None and len(self.weights) != len(self.ids):
            raise ValueError(f"{len(self.ids)} ids but {len(self.weights)} weights")


@dataclass(frozen=True)
class HyperParameters:
    """A LoRA fine-tune's settings; names and meanings are those of peft and transformers' Trainer.

    An optimiser step takes `batch_size * grad_accumulation` sequences (or groups). The token-mean loss of "sft" is
    taken over the whole step, as Trainer does, so there only their product matters, as in "grpo" and "rloo"; other
    losses are averaged over the `grad_accumulation` batches. `clip` is the maximal gradient norm (0: no clip). With
    `keep_optimizer` the finished adapter carries AdamW's state, and a job that continues one goes on from its state.
    """

    rank: int = 32
    alpha: float = 64.0
    targets: Targets = None
    learning_rate: float = 1e-3
    epochs: int = 10
    batch_size: int = 1
    grad_accumulation: int = 1
    weight_decay: float = 0.0
    clip: float = 1.0
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup_steps: int = 0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    keep_optimizer: bool = False

    def problem(self) -> str | None:
        """Why these settings cannot be trained with, or None."""
        checks = (
            (1 <= self.rank <= 1024, f"rank must be in 1..1024, got {self.rank}"),
            (0 < self.alpha < float("inf"), f"alpha must be positive, got {self.alpha}"),
            (0 < self.learning_rate < float("inf"), f"learning_rate must be positive, got {self.learning_rate}"),
            (self.epochs >= 1, f"epochs must be at least 1, got {self.epochs}"),
            (self.batch_size >= 1, f"batch_size must be at least 1, got {self.batch_size}"),
            (self.grad_accumulation >= 1, f"grad_accumulation must be at least 1, got {self.grad_accumulation}"),
            (0 <= self.weight_decay < float("inf"), f"weight_decay must be >= 0, got {self.weight_decay}"),
            (0 <= self.clip < float("inf"), f"clip must be >= 0, got {self.clip}"),
            (self.schedule in SCHEDULES, f"unknown schedule {self.schedule!r}; there are {', '.join(SCHEDULES)}"),
            (self.warmup_steps >= 0, f"warmup_steps must be >= 0, got {self.warmup_steps}"),
            (all(0 <= beta < 1 for beta in self.betas), f"betas must be in [0, 1), got {self.betas}"),
            (self.eps > 0, f"eps must be positive, got {self.eps}"),
        )
        return next((message for fine, message in checks if not fine), None)


@dataclass(frozen=True)
class TrainJob:
    """One adapter to train on `sequences`, on the frozen base plus the frozen `stack` (policy, earlier edits).

    `init` continues an adapter (its rank, alpha and targets must be those of `hp`); otherwise a fresh one is drawn from
    `seed`, which also fixes the data order. The schedule is the job's own: it begins anew, whatever was trained before.
    `loss` is a name ("sft", "dpo", "grpo", "rloo") or a `Loss`.
    """

    id: str
    sequences: tuple[TrainSequence, ...]
    hp: HyperParameters = field(default_factory=HyperParameters)
    seed: int = 0
    stack: tuple[Adapter, ...] = ()
    init: Adapter | None = None
    loss: str | Loss = "sft"


@dataclass(frozen=True)
class TrainResult:
    """A finished job. "failed": its own settings or data did it (`reason`); "error": the engine or machine did.

    `losses` has the training loss of every optimiser step; `tokens` counts trained token positions; `seconds` is the
    job's share of the wall-clock time, by tokens. `reduced` is set when memory ran out while the job was in flight and
    the batch was made smaller: the result is sound, but rounding differs from a run with enough memory.
    """

    id: str
    status: Literal["ok", "failed", "error"]
    reason: str = ""
    adapter: Adapter | None = None
    losses: tuple[float, ...] = ()
    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0
    reduced: bool = False
