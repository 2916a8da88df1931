"""AdamW with small optimiser states, for fine-tuning all weights of a large model on one device."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.optim import Optimizer


class LeanAdamW(Optimizer):
    """AdamW with a factored second moment, and with the first moment in the weight's own dtype.

    A matrix's second moment is the outer product of its row means and column means, divided by the overall mean
    (Shazeer & Stern 2018, arXiv 1804.04235, section 3), with Adam's bias correction, so learning rates mean the same as
    for AdamW. bfloat16 weights are updated in fp32 and rounded stochastically, from `seed`: without fp32 masters,
    updates below half a unit in the last place would otherwise be lost.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(list(parameters), {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})
        device = self.param_groups[0]["params"][0].device
        self._noise = torch.Generator(device).manual_seed(seed)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update every weight that has a gradient."""
        if closure is not None:
            raise ValueError("LeanAdamW takes no closure")
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, group)

    def _update(self, weight: Tensor, group: dict[str, float | tuple[float, float]]) -> None:
        state = self.state[weight]
        first, second = group["betas"]  # type: ignore[misc]
        lr, eps, decay = group["lr"], group["eps"], group["weight_decay"]
        if not state:
            state["step"] = 0
            state["mean"] = torch.zeros_like(weight)
            shapes = [weight.shape[:1], weight.shape[1:]] if weight.dim() == 2 else [weight.shape]
            state["square"] = [torch.zeros(shape, device=weight.device) for shape in shapes]
        state["step"] += 1
        grad = weight.grad.float()  # type: ignore[union-attr]
        mean = state["mean"].float().lerp_(grad, 1 - first)
        self._store(state["mean"], mean)
        square = grad.square()
        if weight.dim() == 2:
            rows, columns = state["square"]
            rows.lerp_(square.mean(1), 1 - second)
            columns.lerp_(square.mean(0), 1 - second)
            square = rows[:, None] * columns[None] / rows.mean().clamp_min(1e-30)
        else:
            square = state["square"][0].lerp_(square, 1 - second)
        root = (square / (1 - second ** state["step"])).sqrt_().add_(eps)
        change = mean / (1 - first ** state["step"]) / root
        updated = weight.float() * (1 - lr * decay) - lr * change  # type: ignore[operator]
        self._store(weight, updated)

    def _store(self, target: Tensor, value: Tensor) -> None:
        """Write fp32 values into `target`; bfloat16 is rounded up or down at random, without bias."""
        if target.dtype != torch.bfloat16:
            target.copy_(value)
            return
        bits = value.contiguous().view(torch.int32)
        noise = torch.randint(0, 1 << 16, bits.shape, generator=self._noise, device=bits.device, dtype=torch.int32)
        rounded = (bits + noise).bitwise_and_(-(1 << 16))
        target.copy_(torch.where(value.isfinite(), rounded.view(torch.float32), value))
