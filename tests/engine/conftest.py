"""The device the engine's tests run on: the CPU, or what `HARNESS_TEST_DEVICE` names (`cuda`)."""

from __future__ import annotations

import os

import pytest
import torch

from harness.engine import product

# These models are tiny; with two threads and another job on the machine, waiting at barriers costs 100 times the work.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def device() -> torch.device:
    chosen = torch.device(os.environ.get("HARNESS_TEST_DEVICE", "cpu"))
    if chosen.type == "cuda" and not torch.cuda.is_available():
        pytest.skip("HARNESS_TEST_DEVICE=cuda, but there is no CUDA device")
    torch.backends.cuda.matmul.allow_tf32 = False
    return chosen


@pytest.fixture(params=["plain", "onednn"])
def products(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The library that multiplies with frozen weights; these models are too small for `products` to choose oneDNN."""
    library: str = request.param
    if library == "onednn" and not product.pays(torch.device("cpu"), torch.float32):
        pytest.skip("no oneDNN operator, or no AVX-512, here")
    monkeypatch.setattr(product, "_LARGE", 0 if library == "onednn" else float("inf"))
    return library
