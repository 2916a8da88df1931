"""Products with the frozen weights, most of the arithmetic, computed by the faster of torch's two CPU libraries.

`F.linear` in fp32 uses MKL, which leaves half of an AMD core with AVX-512 idle; oneDNN, which torch ships too, does not
(`benchmarks/RESULTS.md`). Its operator is not public; where torch lacks it, `F.linear` is used throughout.
`torch.backends.mkldnn.flags(enabled=False)` switches oneDNN off.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_LARGE = 2_000_000  # fewest multiplications that make up for oneDNN's overhead of 10 microseconds per call
_ROWS = 16  # fewest rows for which oneDNN is faster


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
    """`x weight^T + bias` `[n, out]` for `x` `[n, in]` and every (weight `[out, in]`, bias); no gradient flows
    through."""
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
    """`x` padded with rows of zeros to one of few row counts: multiples of 16, and from 128 on four per octave.

    For every new shape oneDNN compiles a kernel, which takes 0.5 ms, as long as a product, and half a megabyte, and it
    caches the last 1,024. No two steps of packed training have the same number of tokens.
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
