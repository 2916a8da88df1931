"""Training losses. A loss is given the token log-probabilities of one batch of its own job, and returns a scalar.

Any callable with the signature of `Loss` is a loss, so a plugin's objective trains in the same packed forward as these.

The losses of a policy, with p the probability of a token in training, q the same when it was drawn, s the same under
the model that the job starts from, r = p / q, and A the advantage of the rollout that the token is in:

* ``dpo``: -log sigmoid(beta (log p(chosen)/s(chosen) - log p(rejected)/s(rejected))), of whole answers
  (Rafailov et al. 2023, arXiv 2305.18290, eq. 7); with ``nll``, the mean of -log p over the tokens of the chosen answer
  is added with that weight (Pang et al. 2024, arXiv 2404.19733, eq. 2), so that its probability cannot fall with that
  of the rejected one.
* ``grpo``: -min(r A, clip(r, 1 - low, 1 + high) A) of a token (Shao et al. 2024, arXiv 2402.03300, eq. 3), where
  ``low < high`` is the asymmetric clip of DAPO (Yu et al. 2025, arXiv 2503.14476, eq. 10), and where A < 0 the gain
  is at least ``dual_clip`` A (Ye et al. 2020, arXiv 1912.09729, eq. 5). Averages: ``sequence`` is eq. 3 of GRPO (a
  token of a short answer counts more), ``token`` eq. 8 of DAPO (each token counts the same), ``length-free`` divides
  by a fixed length (Liu et al. 2025, "Dr. GRPO", arXiv 2503.20783, section 3.2).
* ``rloo``: the same with the ratio of whole answers, prod r (Ahmadian et al. 2024, arXiv 2402.14740, eq. 6, clipped as
  in Schulman et al. 2017, arXiv 1707.06347, eq. 7); the leave-one-out baseline is in A.

Divergence KL(p || s) from the start, estimated from tokens that were drawn from p (Schulman 2020, "Approximating KL
divergence"), with d = log s - log p: ``k2`` = d^2 / 2 and ``k3`` = exp(d) - d - 1. As a loss, k2 has the gradient of
that divergence; k3, which most libraries take, has that of KL(s || p). ``k1`` = -d has the gradient 0 in expectation as
a loss; it is taken off rewards instead, before advantages are made of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from .jobs import Loss, TrainSequence


@dataclass(frozen=True)
class Sft:
    """Weighted mean cross-entropy over the targets of an optimiser step; the engine computes it for all jobs at once.

    The targets of a sequence with `meta["teacher"]` count with their divergence from it instead (see `distil`). What
    holds the adapter back is described in `restraint`; all of it is off by default.
    """

    name: ClassVar[str] = "sft"

    ewc: float = 0.0
    """Weight of the penalty on moving what the job's `retained` sequences depend on."""
    orthogonal: float = 0.0
    """Weight of the penalty on the overlap of A with those of the adapters below."""
    null_space: float = 0.0
    """Share of the energy of the `retained` sequences' inputs that A is kept clear of, in [0, 1]."""

    @property
    def restrains(self) -> bool:
        return bool(self.ewc or self.orthogonal or self.null_space)

    def __call__(self, logprobs: Sequence[Tensor], sequences: Sequence[TrainSequence], /) -> Tensor:
        weights = [torch.tensor(target_weights(s), device=lp.device) for s, lp in zip(sequences, logprobs, strict=True)]
        flat = torch.cat(weights)
        return -(torch.cat(list(logprobs)) * flat).sum() / flat.sum()


@dataclass(frozen=True)
class Dpo:
    """Direct preference optimisation; the weighted mean over pairs, which are never parted.

    The two sequences of a pair share a `group`; `meta["chosen"]` is true for the preferred one. `smoothing` is the
    assumed share of flipped labels; `meta["weight"]` of the chosen sequence is the weight of its pair (default 1).
    """

    name: ClassVar[str] = "dpo"

    beta: float = 0.1
    smoothing: float = 0.0
    nll: float = 0.0
    needs_reference: bool = True

    def __call__(self, logprobs: Sequence[Tensor], sequences: Sequence[TrainSequence], /) -> Tensor:
        pairs: dict[str | None, dict[bool, Tensor]] = {}
        weights: dict[str | None, float] = {}
        likely: dict[str | None, Tensor] = {}
        for logprob, sequence in zip(logprobs, sequences, strict=True):
            chosen = bool(sequence.meta["chosen"])
            pairs.setdefault(sequence.group, {})[chosen] = logprob.sum() - sum(sequence.meta["reference"])
            if chosen:
                weights[sequence.group] = float(sequence.meta.get("weight", 1.0))
                likely[sequence.group] = logprob.mean()
        for group, pair in pairs.items():
            if len(pair) != 2:
                raise ValueError(f"preference group {group!r} is not a pair of a chosen and a rejected sequence")
        margin = self.beta * torch.stack([pair[True] - pair[False] for pair in pairs.values()])
        weight = torch.tensor([weights[group] for group in pairs], device=margin.device)
        loss = -(1 - self.smoothing) * F.logsigmoid(margin) - self.smoothing * F.logsigmoid(-margin)
        if self.nll:
            loss = loss - self.nll * torch.stack([likely[group] for group in pairs])
        return (weight * loss).sum() / weight.sum()


@dataclass(frozen=True)
class Grpo:
    """Clipped policy gradient of every token; see the top of this file for the formulas.

    Every sequence brings `meta["advantage"]` (already relative to its group) and, for more than one step on the same
    rollouts, `meta["logprobs"]`: those under the policy that drew it. Without them the ratio is 1 and the gradient is
    REINFORCE's. The value is a sum over sequences.
    """

    name: ClassVar[str] = "grpo"

    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float = 0.0
    """Least gain of a token with a negative advantage, as a multiple of it: more than 1, or 0 for none."""
    kl: float = 0.0
    """Weight of the divergence from the model that the job starts from."""
    kl_estimator: Literal["k2", "k3"] = "k3"
    entropy: float = 0.0
    """Weight of a bonus on the entropy, estimated by -r log p of the tokens drawn, so that its gradient is unbiased."""
    average: Literal["token", "sequence", "length-free"] = "token"
    length: int = 256
    """The fixed length of `length-free`."""

    @property
    def needs_reference(self) -> bool:
        return self.kl > 0

    def total(self, sequences: Sequence[TrainSequence], /) -> float:
        if self.average == "token":
            return float(sum(len(targets(sequence)) for sequence in sequences))
        return float(len(sequences)) * (self.length if self.average == "length-free" else 1)

    def __call__(self, logprobs: Sequence[Tensor], sequences: Sequence[TrainSequence], /) -> Tensor:
        terms = []
        for logprob, sequence in zip(logprobs, sequences, strict=True):
            advantage = float(sequence.meta["advantage"])
            ratio = _log_ratio(logprob, sequence).exp()
            gain = _clipped(ratio, advantage, self.clip_low, self.clip_high)
            if self.dual_clip and advantage < 0:
                gain = gain.clamp(min=self.dual_clip * advantage)
            if self.kl:
                away = (torch.tensor(sequence.meta["reference"], device=logprob.device) - logprob).clamp(-_FAR, _FAR)
                gain = gain - self.kl * (away**2 / 2 if self.kl_estimator == "k2" else away.exp() - away - 1)
            if self.entropy:
                gain = gain - self.entropy * ratio * logprob
            terms.append(-gain.mean() if self.average == "sequence" else -gain.sum())
        return torch.stack(terms).sum()


@dataclass(frozen=True)
class Rloo:
    """Clipped policy gradient of every answer as a whole, from the same rollouts as :class:`Grpo`. A sum as well."""

    name: ClassVar[str] = "rloo"

    clip_low: float = 0.2
    clip_high: float = 0.2

    def total(self, sequences: Sequence[TrainSequence], /) -> float:
        return float(len(sequences))

    def __call__(self, logprobs: Sequence[Tensor], sequences: Sequence[TrainSequence], /) -> Tensor:
        terms = []
        for logprob, sequence in zip(logprobs, sequences, strict=True):
            ratio = _log_ratio(logprob, sequence).sum().clamp(-_FAR, _FAR).exp()
            terms.append(-_clipped(ratio, float(sequence.meta["advantage"]), self.clip_low, self.clip_high))
        return torch.stack(terms).sum()


_FAR = 20.0
"""Log-ratios are cut here, so that no exponential overflows: far outside of any clip."""


def _log_ratio(logprob: Tensor, sequence: TrainSequence) -> Tensor:
    """log p - log q of every token."""
    drawn = sequence.meta.get("logprobs")
    old = logprob.detach() if drawn is None else torch.tensor(drawn, device=logprob.device)
    return (logprob - old).clamp(-_FAR, _FAR)


def _clipped(ratio: Tensor, advantage: float, low: float, high: float) -> Tensor:
    return torch.minimum(ratio * advantage, ratio.clamp(1 - low, 1 + high) * advantage)


LOSSES: dict[str, Loss] = {"sft": Sft(), "dpo": Dpo(), "grpo": Grpo(), "rloo": Rloo()}


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
