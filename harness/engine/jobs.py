"""The engine's inputs and outputs: plain frozen records of token ids (no tokenizer, no text)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor

from .adapter import Adapter, Targets

SCHEDULES = ("linear", "cosine", "constant")
Stop = Sequence[tuple[int, ...]] | Callable[[Sequence[int]], bool]


@dataclass(frozen=True)
class GenerationRow:
    """One completion to generate, by the base model with the stack `adapters`, applied in order (empty: the base).

    `temperature` 0 is greedy. Sampling uses one random stream per row, seeded by `seed` alone, so a row depends neither
    on its neighbours nor on its place in the batch. `stop` is either token-id sequences, or a callback that is given
    the row's generated ids after every token and returns whether to stop (stop strings are up to the caller).

    Raises:
        ValueError: the prompt is empty, or a setting is out of range.
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
    """Generated ids, without the end-of-text token or the stop sequence that ended them.

    `finish` is "stop" (end of text, stop sequence, callback) or "length". `eos` is the end-of-text id if one ended the
    row, else None. `logprobs` has one natural-log probability per id, under the model itself (temperature 1, no top-p).
    `reduced`: memory ran out and the batch was made smaller, so rounding may differ from a run with enough memory.
    Where something else than the engine completes rows, such as a server, `finish` may be "error": there are no ids,
    and `reason` says why.
    """

    ids: tuple[int, ...]
    finish: Literal["stop", "length", "error"]
    eos: int | None = None
    eos_logprob: float | None = None
    logprobs: tuple[float, ...] | None = None
    reduced: bool = False
    reason: str = ""


@dataclass(frozen=True)
class Padding:
    """Padding positions in the loss, as the published SEAL inner loop trains them (`pad_loss: reference`).

    The sequence counts as padded to `to` tokens with `token`; every padding position is a target, and none is attended
    to. All of them attend to exactly the real tokens and hold the same token, so they differ in their position only.
    Their mean loss is therefore estimated at `nodes` positions, one drawn uniformly from each of `nodes` equal strata
    (anew in every step, from the job's seed) and weighted by the stratum's size: an unbiased estimate of the exact
    gradient. With `nodes` of at least `to - len(ids)`, every position is computed, exactly.
    """

    to: int
    token: int
    nodes: int = 32


@dataclass(frozen=True)
class TrainSequence:
    """One training sequence. `weights[t]` is the loss weight of predicting `ids[t]` (`weights[0]` has no effect).

    Without `weights`, every token weighs 1. Sequences with the same `group` always share an optimiser step (a
    preference pair, a group of rollouts); `meta` holds constants for the loss (advantage, reference log-probabilities
    ...).
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
    """The settings of a LoRA fine-tune; names and meanings are those of peft and of transformers' Trainer.

    An optimiser step takes `batch_size * grad_accumulation` sequences (or groups). For "sft" the loss is the mean over
    all target tokens of the step, as in Trainer, so only that product matters; so it is for "grpo" and "rloo". Other
    losses are averaged over the `grad_accumulation` batches. `clip` is the largest gradient norm of the adapter (0: no
    clipping). With `keep_optimizer` the finished adapter carries AdamW's state, and a job that continues an adapter
    resumes from it.
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
        """Why these settings cannot be used, or None."""
        checks = (
            (1 <= self.rank <= 1024, f"rank must be in 1..1024, got {self.rank}"),
            (0 < self.alpha < float("inf"), f"alpha must be positive, got {self.alpha}"),
            (0 < self.learning_rate < float("inf"), f"learning_rate must be positive, got {self.learning_rate}"),
            (self.epochs >= 1, f"epochs must be at least 1, got {self.epochs}"),
            (self.batch_size >= 1, f"batch_size must be at least 1, got {self.batch_size}"),
            (self.grad_accumulation >= 1, f"grad_accumulation must be at least 1, got {self.grad_accumulation}"),
            (0 <= self.weight_decay < float("inf"), f"weight_decay must be >= 0, got {self.weight_decay}"),
            (0 <= self.clip < float("inf"), f"clip must be >= 0, got {self.clip}"),
            (self.schedule in SCHEDULES, f"unknown schedule {self.schedule!r}; known: {', '.join(SCHEDULES)}"),
            (self.warmup_steps >= 0, f"warmup_steps must be >= 0, got {self.warmup_steps}"),
            (all(0 <= beta < 1 for beta in self.betas), f"betas must be in [0, 1), got {self.betas}"),
            (self.eps > 0, f"eps must be positive, got {self.eps}"),
        )
        return next((message for fine, message in checks if not fine), None)


@runtime_checkable
class Loss(Protocol):
    """A training loss: takes the log-probabilities of the sequences of one batch, and returns a scalar tensor.

    `logprobs[i]` is `[targets]`, fp32 and differentiable: the natural-log probability of every target of `sequences[i]`
    with weight != 0. If a loss has a true attribute `needs_reference`, every sequence has `meta["reference"]`: the same
    log-probabilities under the model that the job starts from, computed by the engine unless the job supplies them.

    A loss with a method `total(sequences) -> float` is a sum over sequences: the engine calls it with as many sequences
    of an optimiser step as fit into a forward, and divides by the total of all of them. Any other loss is called with
    each of the step's `grad_accumulation` batches whole, and the mean of its values is taken.
    """

    def __call__(self, logprobs: Sequence[Tensor], sequences: Sequence[TrainSequence], /) -> Tensor: ...


@dataclass(frozen=True)
class TrainJob:
    """One adapter to train on `sequences`, above the frozen base and the frozen `stack` (policy, earlier edits).

    With `init`, that adapter is trained further (its rank, alpha and targets must be those of `hp`); otherwise a new
    one is drawn from `seed`, which also determines the data order. The learning-rate schedule starts anew in every job.
    `loss` is a name ("sft", "dpo", "grpo", "rloo") or a `Loss`.
    """

    id: str
    sequences: tuple[TrainSequence, ...]
    hp: HyperParameters = field(default_factory=HyperParameters)
    seed: int = 0
    stack: tuple[Adapter, ...] = ()
    init: Adapter | None = None
    loss: str | Loss = "sft"
    retained: tuple[TrainSequence, ...] = ()
    """What must not be lost: not trained on, but what the restraints of `Sft` are measured on."""


@dataclass(frozen=True)
class TrainResult:
    """A finished job. "failed": its own settings or data were at fault (`reason`); "error": the engine or the machine
    was.

    `losses` has the training loss of every optimiser step; `tokens` counts trained token positions; `seconds` is the
    job's share of the wall-clock time, in proportion to its tokens. `reduced`: memory ran out during the job and the
    batch was made smaller; the result is valid, but rounding may differ from a run with enough memory.
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
