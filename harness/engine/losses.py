"""Training losses. A loss is given the token log-probabilities of one batch of its own job, and returns a scalar.

Any callable with the signature of `Loss` is a loss, so a plugin's objective trains in the same packed forward as these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .jobs import Loss, TrainSequence


@dataclass(frozen=True)
class Sft:
    """Weighted mean cross-entropy over the targets of an optimiser step; the engine computes it for all jobs at once.

    The targets of a sequence with `meta["teacher"]` count with their divergence from it instead (see `distil`).
    """

    def __call__(self, logprobs: Sequence[Tensor], sequences: Sequence[TrainSequence], /) -> Tensor:
        weights = [torch.tensor(target_weights(s), device=lp.device) for s, lp in zip(sequences, logprobs, strict=True)]
        flat = torch.cat(weights)
        return -(torch.cat(list(logprobs)) * flat).sum() / flat.sum()


@dataclass(frozen=True)
class Dpo:
    """Direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290, eq. 7).

    The two sequences of a pair share a `group`; `meta["chosen"]` is true for the preferred one. `smoothing` is the
    assumed share of flipped labels; `meta["weight"]` of the chosen sequence is the weight of its pair (default 1).
    """

    beta: float = 0.1
    smoothing: float = 0.0
    needs_reference: bool = True

    def __call__(self, logprobs: Sequence[Tensor], sequences: Sequence[TrainSequence], /) -> Tensor:
        pairs: dict[str | None, dict[bool, Tensor]] = {}
        weights: dict[str | None, float] = {}
        for logprob, sequence in zip(logprobs, sequences, strict=True):
            chosen = bool(sequence.meta["chosen"])
            pairs.setdefault(sequence.group, {})[chosen] = logprob.sum() - sum(sequence.meta["reference"])
            if chosen:
                weights[sequence.group] = float(sequence.meta.get("weight", 1.0))
        for group, pair in pairs.items():
            if len(pair) != 2:
                raise ValueError(f"preference group {group!r} is not a pair of a chosen and a rejected sequence")
        margin = self.beta * torch.stack([pair[True] - pair[False] for pair in pairs.values()])
        weight = torch.tensor([weights[group] for group in pairs], device=margin.device)
        loss = -(1 - self.smoothing) * F.logsigmoid(margin) - self.smoothing * F.logsigmoid(-margin)
        return (weight * loss).sum() / weight.sum()


@dataclass(frozen=True)
class Grpo:
    """Group-relative policy gradient (Shao et al. 2024, arXiv 2402.03300, eq. 3), averaged over each rollout's tokens.

    Every sequence has `meta["advantage"]` (already relative to its group) and, for more than one step on the same
    rollouts, `meta["logprobs"]`: the log-probabilities under the policy that sampled it. Without them the ratio is 1
    and the gradient is REINFORCE's. `kl` weighs the unbiased estimate of the divergence from the model the job starts
    from.
    """

    clip: float = 0.2
    kl: float = 0.0

    @property
    def needs_reference(self) -> bool:
        return self.kl > 0

    def __call__(self, logprobs: Sequence[Tensor], sequences: Sequence[TrainSequence], /) -> Tensor:
        terms = []
        for logprob, sequence in zip(logprobs, sequences, strict=True):
            advantage = float(sequence.meta["advantage"])
            drawn = sequence.meta.get("logprobs")
            old = logprob.detach() if drawn is None else torch.tensor(drawn, device=logprob.device)
            ratio = (logprob - old).exp()
            gain = torch.minimum(ratio * advantage, ratio.clamp(1 - self.clip, 1 + self.clip) * advantage)
            if self.kl:
                away = torch.tensor(sequence.meta["reference"], device=logprob.device) - logprob
                gain = gain - self.kl * (away.exp() - away - 1)
            terms.append(-gain.mean())
        return torch.stack(terms).mean()


LOSSES: dict[str, Loss] = {"sft": Sft(), "dpo": Dpo(), "grpo": Grpo()}


def resolve_loss(loss: str | Loss) -> Loss:
    """A loss by name, or the callable itself.

    Raises:
        ValueError: no such name, or not callable.
    """
    if isinstance(loss, str):
        if loss not in LOSSES:
            raise ValueError(f"unknown loss {loss!r}; use one of {', '.join(LOSSES)}, or a callable")
        return LOSSES[loss]
    if not callable(loss):
        raise ValueError(f"a loss must be a name or a callable, got {type(loss).__name__}")
    return loss


def targets(sequence: TrainSequence) -> list[int]:
    """Indices t >= 1 of the ids whose prediction has a loss weight other than 0."""
    weights = sequence.weights
    return [t for t in range(1, len(sequence.ids)) if weights is None or weights[t] != 0]


def target_weights(sequence: TrainSequence) -> list[float]:
    """The loss weights of `targets(sequence)`."""
    return [1.0 if sequence.weights is None else float(sequence.weights[t]) for t in targets(sequence)]
