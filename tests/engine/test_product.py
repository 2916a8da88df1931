"""`products` are `F.linear`, whichever library computes them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from harness.engine import product as module
from harness.engine.product import pays, products

sizes = st.sampled_from([1, 3, 16, 48, 300])


@given(n=sizes, n_in=sizes, n_out=sizes, bias=st.booleans(), transposed=st.booleans(), half=st.booleans())
def test_equals_linear(n: int, n_in: int, n_out: int, bias: bool, transposed: bool, half: bool) -> None:
    generator = torch.Generator().manual_seed(n * n_in + n_out)
    x = torch.randn(n, n_in, generator=generator)
    weight = torch.randn(n_out, n_in, generator=generator)
    if transposed:
        weight = torch.randn(n_in, n_out, generator=generator).t()
    b = torch.randn(n_out, generator=generator) if bias else None
    if half:
        x, weight, b = x.bfloat16(), weight.bfloat16(), None if b is None else b.bfloat16()
    for one in products(x, [(weight, b), (weight, b)]):
        torch.testing.assert_close(one, F.linear(x, weight, b), atol=1e-3, rtol=1e-4)


def test_large_products_take_onednn_and_a_switch_of_torch_turns_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    if not pays(torch.device("cpu"), torch.float32):
        pytest.skip("no oneDNN operator, or no AVX-512, here")
    taken: list[int] = []
    real = module._ONEDNN

    def watched(x: torch.Tensor, *rest: object) -> torch.Tensor:
        taken.append(len(x))
        result: torch.Tensor = real(x, *rest)
        return result

    monkeypatch.setattr(module, "_ONEDNN", watched)
    weight = torch.randn(600, 600)
    for rows in (1, 15, 57, 64):
        products(torch.randn(rows, 600), [(weight, None)])
    with torch.backends.mkldnn.flags(enabled=False):
        products(torch.randn(64, 600), [(weight, None)])
    products(torch.randn(64, 600).double(), [(weight.double(), None)])
    assert taken == [64, 64]  # 57 rows are rounded up: every new shape would be compiled anew
