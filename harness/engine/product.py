"""Products with the frozen weights, which are most of the arithmetic, by the faster of torch's two CPU libraries.

`F.linear` in fp32 goes to MKL, which leaves half of an AVX-512 core of another maker than its own idle; oneDNN, which
torch ships too, does not (`benchmarks/RESULTS.md`). Its operator is not public, so without it all is as if this module
were `F.linear`; `torch.backends.mkldnn.flags(enabled=False)` switches it off.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_LARGE = 1_500_000  # multiplications from which oneDNN's 10 microseconds to get going are made up for


def _find() -> Any:
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return None
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        return None
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None)


_ONEDNN = _find()


def pays(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether `product` can be faster than `F.linear` for a model on this device."""
    able = _ONEDNN is not None and device.type == "cpu" and dtype == torch.float32
    return able and bool(torch.backends.mkldnn.enabled)


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x weight^T + bias` for `[n, in]` and `[out, in]`; no gradient flows through it."""
    if len(x) * weight.numel() >= _LARGE and pays(x.device, x.dtype) and weight.dtype == x.dtype:
        result: Tensor = _ONEDNN(x, weight, bias, "none", [], "")
        return result
    return F.linear(x, weight, bias)
