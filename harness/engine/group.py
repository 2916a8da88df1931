"""What processes that fine-tune one model together agree on: shares of a step, and sums over them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_BUCKET = 1 << 24
"""Gradient entries that are summed in one message."""


class Group:
    """One process's place in a group. `size` 1 is a process by itself, which asks nobody.

    A larger group needs an initialised `torch.distributed`. Sums are the same to the last bit in every process, so
    copies of a model that start alike stay alike.
    """

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size

    def share(self, members: Sequence[int], costs: Sequence[int]) -> list[int]:
        """The members that this process computes: the dearest first, each to the process with the least so far."""
        if self.size == 1:
            return list(members)
        mine, load = [], [0] * self.size
        for _, place in sorted((-tokens, place) for place, tokens in enumerate(costs)):
            least = load.index(min(load))
            load[least] += costs[place]
            if least == self.rank:
                mine.append(place)
        return [members[place] for place in sorted(mine)]

    def any(self, flag: bool) -> bool:
        """Whether it is so in any process."""
        if self.size == 1:
            return flag
        told = torch.tensor([float(flag)], device=self._device())
        torch.distributed.all_reduce(told)
        return bool(told.item())

    def sum(self, parameters: Sequence[Tensor], loss: float) -> float:
        """Add up the gradients of all processes in place, and their losses; a parameter that a process's share did
        not reach counts as zero there."""
        if self.size == 1:
            return loss
        total = torch.tensor([loss], dtype=torch.float64, device=self._device())
        torch.distributed.all_reduce(total)
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        for bucket in _buckets([p.grad for p in parameters if p.grad is not None]):
            flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
            torch.distributed.all_reduce(flat)
            at = 0
            for gradient in bucket:
                gradient.copy_(flat[at : at + gradient.numel()].view_as(gradient))
                at += gradient.numel()
        return float(total.item())

    @staticmethod
    def _device() -> torch.device:
        nccl = torch.distributed.get_backend() == "nccl"
        return torch.device("cuda", torch.cuda.current_device()) if nccl else torch.device("cpu")


ALONE = Group()


def _buckets(gradients: Sequence[Tensor]) -> list[list[Tensor]]:
    out: list[list[Tensor]] = []
    entries = _BUCKET
    for gradient in gradients:
        if entries + gradient.numel() > _BUCKET:
            out.append([])
            entries = 0
        out[-1].append(gradient)
        entries += gradient.numel()
    return out
