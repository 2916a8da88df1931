"""Normalising a memory: its leading singular values are set to 1, or its Frobenius norm to a fixed value."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

Form = Literal["svd", "frobenius"]

_FLOOR = 1e-2
"""Singular values below this share of the largest are noise: they are divided by that bound, not by themselves."""


def normalised(memory: Tensor, form: Form, rank: int) -> Tensor:
    """The normalised memory, [n, keys, values]; an all-zero one stays zero."""
    left, right = factors(memory, form, rank)
    return left @ right


def factors(memory: Tensor, form: Form, rank: int) -> tuple[Tensor, Tensor]:
    """[n, keys, r] and [n, r, values], whose product is the normalised memory.

    ``svd``: ``U V^T`` of the ``rank`` leading singular directions (arXiv 2411.05877, section 3.2), so that what all
    tokens' states share cannot dominate. ``frobenius``: the whole memory with its norm set to ``sqrt(rank)``.
    """
    if form == "frobenius":
        size = memory.flatten(1).norm(dim=1).clamp_min(1e-12)
        same = torch.eye(memory.shape[2], device=memory.device, dtype=memory.dtype).expand(len(memory), -1, -1)
        return memory * (math.sqrt(rank) / size)[:, None, None], same
    with torch.no_grad():
        basis = _range(memory, min(rank, *memory.shape[1:]))
    small: Tensor = _Polar.apply(basis.transpose(1, 2) @ memory)  # type: ignore[no-untyped-call]
    return basis, small


def _range(memory: Tensor, rank: int) -> Tensor:
    """An orthonormal basis [n, keys, rank] of the leading left singular directions.

    Randomised range finder with one power iteration (Halko et al., arXiv 0909.4061) from fixed draws. No gradient goes
    through the choice: it is exact wherever the rank covers the memory.
    """
    draws = torch.randn(memory.shape[2], rank, generator=torch.Generator().manual_seed(0)).to(memory)
    first = torch.linalg.qr(memory @ draws)[0]
    basis: Tensor = torch.linalg.qr(memory @ (memory.transpose(1, 2) @ first))[0]
    return basis


class _Polar(torch.autograd.Function):
    """``U V^T`` of ``U S V^T``, [n, rank, values] with rank <= values.

    Its derivative divides by sums of singular values. That of the SVD, which autograd would use, divides by their
    differences and explodes where two nearly coincide, although ``U V^T`` does not.
    """

    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> Tensor:
        wide = matrix.double()
        squares, left = torch.linalg.eigh(wide @ wide.transpose(1, 2))
        sizes = squares.clamp_min(0).sqrt()
        sizes = sizes.clamp_min(_FLOOR * sizes[:, -1:]).clamp_min(1e-12)
        polar = (left / sizes[:, None, :]) @ (left.transpose(1, 2) @ wide)
        ctx.save_for_backward(left, sizes, polar)
        out: Tensor = polar.to(matrix.dtype)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        left, sizes, polar = ctx.saved_tensors
        turned = left.transpose(1, 2) @ grads[0].double()
        right = left.transpose(1, 2) @ polar
        inside = turned @ right.transpose(1, 2)
        skew = (inside - inside.transpose(1, 2)) / (sizes[:, :, None] + sizes[:, None, :])
        outside = (turned - inside @ right) / sizes[:, :, None]
        known = (sizes[:, -1:, None] > 1e-11).to(left)
        back: Tensor = (left @ (skew @ right + outside) * known).to(grads[0].dtype)
        return back
