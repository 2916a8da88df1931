"""Products with the frozen weights, which are most of the arithmetic, by the faster of torch's two CPU libraries.

`F.linear` in fp32 goes to MKL, which leaves half of an AMD core with AVX-512 idle; oneDNN, which torch ships too, does
not (`benchmarks/RESULTS.md`). Its operator is not public, so without it all is as if this module were `F.linear`;
`torch.backends.mkldnn.flags(enabled=False)` switches it off.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_LARGE = 2_000_000  # multiplications from which oneDNN's 10 microseconds to get going are made up for
_ROWS = 16  # and the fewest rows for which it is worth it


def _find() -> Any:
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return None
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return None
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None)


_ONEDNN = _find()


def pays(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether `products` can be faster than `F.linear` for a model on this device."""
    able = _ONEDNN is not None and device.type == "cpu" and dtype == torch.float32
    return able and bool(torch.backends.mkldnn.enabled)


def products(x: Tensor, linears: Iterable[tuple[Tensor, Tensor | None]]) -> list[Tensor]:
    """`x weight^T + bias` of `x` `[n, in]` for every (weight `[out, in]`, bias); no gradient flows through them."""
    rows, rounded = x.shape[0], None
    found = []
    for weight, bias in linears:
        if rows >= _ROWS and rows * weight.numel() >= _LARGE and pays(x.device, x.dtype) and weight.dtype == x.dtype:
            rounded = _rounded(x) if rounded is None else rounded
            found.append(_ONEDNN(rounded, weight, bias, "none", [], "")[:rows])
        else:
            found.append(F.linear(x, weight, bias))
    return found


def _rounded(x: Tensor) -> Tensor:
    """`x` with rows of zeros up to a number of rows that comes up again: multiples of 16, then four an octave.

    For every new shape oneDNN compiles a kernel, which takes as long as a product (0.5 ms) and half a megabyte, and it
    keeps the last 1,024. No two steps of packed training have the same number of tokens.
    """
    rows = x.shape[0]
    step = max(_ROWS, (1 << rows.bit_length()) // 8)
    size = -(-rows // step) * step
    if size == rows:
        return x
    larger = x.new_empty(size, x.shape[1])
    larger[:rows] = x
    larger[rows:] = 0
    return larger
