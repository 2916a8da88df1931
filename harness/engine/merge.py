"""Merging adapters that were trained apart from each other into one, by the definitions of peft.

``cat`` and ``svd`` merge the products B A: exactly, and as far as the rank goes. ``linear``, ``ties`` and ``dare_*``
act on A and on B by themselves, as peft does, so that what they merge is not the sum of the products: (A1 + A2)(B1 +
B2) has mixed terms. With the suffix ``_svd`` they act on the products. Sources: TIES, arXiv 2306.01708; DARE, arXiv
2311.03099; superposition, arXiv 1902.05522.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from .adapter import Adapter
from .fold import fold, reduced, widened

PRODUCTS = ("cat", "svd")
PARTWISE = ("linear", "ties", "dare_linear", "dare_ties")
MERGES = (*PRODUCTS, *PARTWISE, *(f"{one}_svd" for one in PARTWISE[1:]))
"""Every way of merging."""


def merge(
    adapters: Sequence[Adapter], how: str, *, weight: float = 0.0, density: float = 0.5, rank: int = 0, seed: int = 0
) -> Adapter:
    """One adapter made of several.

    Args:
        weight: of each adapter; 0 takes their mean, 1 their sum.
        density: share of the entries that ``ties`` (the largest) and ``dare_*`` (drawn from ``seed``) keep.
        rank: of what ``svd`` and ``*_svd`` make; 0 is the largest of the adapters'.

    Raises:
        ValueError: no adapters, no such way, or adapters of different shapes for a way that acts on A and B.
    """
    if how not in MERGES:
        raise ValueError(f"adapters cannot be merged by {how!r}; there are {', '.join(MERGES)}")
    if not adapters:
        raise ValueError("there is nothing to merge: no adapters")
    share = weight or 1 / len(adapters)
    if how == "cat":
        return fold([replace(one, alpha=one.alpha * share, optimizer=None) for one in adapters])
    names = sorted(adapters[0].weights)
    shapes = {(one.rank, tuple(sorted(one.weights))) for one in adapters}
    if len(shapes) > 1:
        raise ValueError(f"only 'cat' merges adapters of different ranks or modules, not {how!r}")
    targets = adapters[0].targets
    pairs: dict[str, tuple[Tensor, Tensor]] = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if how in PARTWISE:
            roots = torch.tensor([(share * one.scale) ** 0.5 for one in adapters])
            for name in names:
                a, b = (_blend([one.weights[name][side] for one in adapters], roots, how, density) for side in (0, 1))
                pairs[name] = (a.contiguous(), b.contiguous())
            return Adapter(pairs, adapters[0].rank, float(adapters[0].rank), targets)
        size = rank or adapters[0].rank
        for name in names:
            pairs[name] = _of_products(adapters, name, how, share, density, size)
    size = max(len(a) for a, _ in pairs.values())
    return Adapter({name: widened(*pair, size) for name, pair in pairs.items()}, size, float(size), targets)


def superpose(adapters: Sequence[Adapter], keys: Sequence[int], own: int) -> Adapter:
    """All adapters in one, through the key of the adapter at ``own``, which alone passes unchanged.

    A key is a vector of random signs on a layer's inputs: what is stored is the sum of B_j A_j diag(k_j), and what is
    read is that times diag(k_own). The own term is exact, as signs cancel; to the input, every other one is noise.
    """
    signed = []
    for adapter, key in zip(adapters, keys, strict=True):
        weights = {}
        for name, (a, b) in adapter.weights.items():
            signs = _signs(key, name, a.shape[1]) * _signs(keys[own], name, a.shape[1])
            weights[name] = (a * signs, b)
        signed.append(replace(adapter, weights=weights, optimizer=None))
    return fold(signed)


def _signs(key: int, name: str, count: int) -> Tensor:
    rng = random.Random(f"{key}/{name}")
    return torch.tensor([rng.choice((-1.0, 1.0)) for _ in range(count)])


def _blend(tensors: list[Tensor], weights: Tensor, how: str, density: float) -> Tensor:
    """The tensors merged entry by entry."""
    from peft.utils import merge_utils

    if how == "linear":
        return merge_utils.task_arithmetic(tensors, weights)
    blend = {"ties": merge_utils.ties, "dare_linear": merge_utils.dare_linear, "dare_ties": merge_utils.dare_ties}
    return blend[how](tensors, weights, density)


def _of_products(
    adapters: Sequence[Adapter], name: str, how: str, share: float, density: float, rank: int
) -> tuple[Tensor, Tensor]:
    """Factors of at most `rank` of the merged products of one module."""
    if how == "svd":
        a = torch.cat([one.weights[name][0] for one in adapters])
        b = torch.cat([share * one.scale * one.weights[name][1] for one in adapters], dim=1)
        return reduced(a, b, rank)
    products = [one.scale * one.weights[name][1] @ one.weights[name][0] for one in adapters]
    merged = _blend(products, torch.full((len(products),), share), how.removesuffix("_svd"), density)
    return reduced(torch.eye(merged.shape[1]), merged, rank)
