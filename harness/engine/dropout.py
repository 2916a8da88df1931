"""Dropout in scoring: networks thinned at random, as samples of how sure a model is (Gal & Ghahramani 2016, arXiv
1506.02142).

A unit of every linear's input is set to 0 with probability `rate`, and the others are scaled by 1 / (1 - rate);
linears that read one input read one thinned input. All tokens of a text share their mask (Gal & Ghahramani 2016b,
arXiv 1512.05287), so that a seed names one thinned network, whatever it reads and whatever shares its batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class Thinned(NamedTuple):
    """One network: the share of units that are dropped, in (0, 1), and the seed of the draw."""

    rate: float
    seed: int


def masks(networks: Sequence[Thinned | None], widths: Sequence[int]) -> list[Tensor]:
    """Factors `[texts, width]` for every width: 0 or 1 / (1 - rate), and 1 where a text's network is whole.

    Raises:
        ValueError: a rate outside (0, 1).
    """
    rows = []
    drawn: dict[Thinned, Tensor] = {}
    for network in networks:
        if network is None:
            rows.append(torch.ones(sum(widths)))
            continue
        if not 0 < network.rate < 1:
            raise ValueError(f"a dropout rate lies between 0 and 1, not {network.rate}")
        if network not in drawn:
            uniform = torch.rand(sum(widths), generator=torch.Generator().manual_seed(network.seed))
            drawn[network] = (uniform >= network.rate).float() / (1 - network.rate)
        rows.append(drawn[network])
    return list(torch.split(torch.stack(rows), list(widths), dim=1))


@contextmanager
def thinning(
    groups: Sequence[Mapping[str, nn.Linear]], networks: Sequence[Thinned | None], lengths: Sequence[int]
) -> Iterator[None]:
    """Within the block, the inputs of the linears are thinned: text i has `lengths[i]` packed tokens.

    Args:
        groups: linears that read the same input tensor, group by group.
    """
    if all(network is None for network in networks):
        yield
        return
    first = [next(iter(group.values())) for group in groups]
    factors = masks(networks, [linear.in_features for linear in first])
    weight = first[0].weight
    counts = torch.tensor(lengths, device=weight.device)
    handles = []
    try:
        for group, factor in zip(groups, factors, strict=True):
            hook = _Hook(factor.to(weight.device, weight.dtype).repeat_interleave(counts, dim=0))
            handles += [linear.register_forward_pre_hook(hook) for linear in group.values()]
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Hook:
    """Thins an input once for all linears of a group, which are computed together where they get the same tensor."""

    def __init__(self, factor: Tensor) -> None:
        self._factor = factor
        self._seen: tuple[Tensor, Tensor] | None = None

    def __call__(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        x = inputs[0]
        if self._seen is None or self._seen[0] is not x:
            self._seen = (x, x * self._factor)
        return (self._seen[1], *inputs[1:])
