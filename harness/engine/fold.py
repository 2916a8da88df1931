"""Folding a stack of adapters into one that computes the same, with no larger rank than that takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .adapter import Adapter

_Pair = tuple[Tensor, Tensor]


def fold(stack: Sequence[Adapter]) -> Adapter:
    """One adapter whose product is the sum of the stack's products: ``B A = sum of scale_i B_i A_i``, with scale 1.

    The As are stacked, and the Bs, multiplied by their scales, stand side by side; that is exact up to one rounding of
    scale times B. Where every module's product has a smaller rank than this concatenation (always, once its rank
    exceeds a side of the matrix), the factors are reduced to the largest of the products' ranks: QR of both, then the
    SVD of the small matrix between them, in fp64, without forming the product. What is dropped is smaller than the
    product's own fp32 rounding error. So the folded adapter stays bounded however long the stack grows.

    Raises:
        ValueError: the stack is empty.
    """
    if not stack:
        raise ValueError("there is nothing to fold: the stack is empty")
    if len(stack) == 1:
        return stack[0]
    names = sorted({name for adapter in stack for name in adapter.weights})
    joined = {name: _concatenated([adapter for adapter in stack if name in adapter.weights], name) for name in names}
    smaller = {name: reduced(*pair) for name, pair in joined.items()}
    pairs = smaller if _rank(smaller) < _rank(joined) else joined
    rank = _rank(pairs)
    weights = {name: widened(*pair, rank) for name, pair in pairs.items()}
    targets = tuple(sorted({suffix for adapter in stack for suffix in adapter.targets}))
    return Adapter(weights, rank, float(rank), targets)


def _rank(pairs: Mapping[str, _Pair]) -> int:
    return max(1, max(len(a) for a, _ in pairs.values()))


def _concatenated(adapters: Sequence[Adapter], name: str) -> _Pair:
    """A module's A `[R, in]` and B `[out, R]` over the adapters that adapt it, where R is the sum of their ranks."""
    a = torch.cat([adapter.weights[name][0] for adapter in adapters])
    b = torch.cat([adapter.scale * adapter.weights[name][1] for adapter in adapters], dim=1)
    return a, b


def reduced(a: Tensor, b: Tensor, most: int = 0) -> _Pair:
    """Factors with the same product and its numerical rank in fp32; each takes the square roots of the singular
    values. With ``most``, only so many of the largest singular values are kept."""
    qb, rb = torch.linalg.qr(b.double())
    qa, ra = torch.linalg.qr(a.double().t())
    u, s, vt = torch.linalg.svd(rb @ ra.t(), full_matrices=False)
    # Rounding every entry of a matrix to fp32 moves its singular values by about this much.
    noise = float(s[0]) * torch.finfo(torch.float32).eps * max(a.shape[1], b.shape[0]) ** 0.5
    rank = int((s[: most or len(s)] > noise).sum())
    root = s[:rank].sqrt()
    return (root[:, None] * vt[:rank] @ qa.t()).float(), (qb @ u[:, :rank] * root).float()


def widened(a: Tensor, b: Tensor, rank: int) -> _Pair:
    """The pair padded with zeros to `rank`, which leaves the product unchanged."""
    more = rank - len(a)
    if not more:
        return a.contiguous(), b.contiguous()
    return torch.cat([a, a.new_zeros(more, a.shape[1])]), torch.cat([b, b.new_zeros(b.shape[0], more)], dim=1)
