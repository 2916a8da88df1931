"""Merged adapters are those of peft's ``add_weighted_adapter``, and superposed ones come back through their keys."""

from __future__ import annotations

import copy
from typing import Any

import peft
import pytest
import torch

from harness.engine import MERGES, Adapter, merge, superpose

from .models import random_adapter, small_model


def product(adapter: Adapter, name: str) -> torch.Tensor:
    a, b = adapter.weights[name]
    return adapter.scale * b @ a


def by_peft(adapters: list[Adapter], how: str, weights: list[float], density: float) -> dict[str, torch.Tensor]:
    """Module -> the change of its weight, as peft merges the same adapters."""
    tuned: Any = None
    for i, one in enumerate(adapters):
        config = peft.LoraConfig(r=one.rank, lora_alpha=one.alpha, target_modules=list(one.targets))
        if tuned is None:
            tuned = peft.get_peft_model(copy.deepcopy(small_model("llama")), config, "a0")
        else:
            tuned.add_adapter(f"a{i}", config)
        for name, (a, b) in one.weights.items():
            layer = tuned.base_model.model.get_submodule(name)
            layer.lora_A[f"a{i}"].weight.data.copy_(a)
            layer.lora_B[f"a{i}"].weight.data.copy_(b)
    torch.manual_seed(5)
    tuned.add_weighted_adapter([f"a{i}" for i in range(len(adapters))], weights, "merged", how, density=density)
    found = {}
    for name in adapters[0].weights:
        layer = tuned.base_model.model.get_submodule(name)
        found[name] = layer.get_delta_weight("merged").detach()
    return found


@pytest.mark.parametrize("how", MERGES)
@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_merging_is_that_of_peft(how: str, weight: float) -> None:
    model = small_model("llama")
    adapters = [random_adapter(model, i, rank=4, alpha=8.0, targets=("q_proj", "down_proj")) for i in range(3)]
    merged = merge(adapters, how, weight=weight, density=0.4, seed=5)
    reference = by_peft(adapters, how, [weight or 1 / 3] * 3, 0.4)
    assert set(merged.weights) == set(reference)
    if how.startswith("dare"):  # what peft drops depends on the order of its modules: only the share is alike
        assert merge(adapters, how, density=0.4, seed=5) == merge(adapters, how, density=0.4, seed=5)
        assert merge(adapters, how, density=0.4, seed=5) != merge(adapters, how, density=0.4, seed=6)
        return
    for name, expected in reference.items():
        torch.testing.assert_close(product(merged, name), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("how", ["dare_linear", "dare_ties"])
def test_dare_keeps_a_share_and_rescales_it(how: str) -> None:
    one = random_adapter(small_model("llama"), 1, rank=4, alpha=4.0)
    merged = merge([one], how, density=0.25, seed=1)
    kept = total = 0
    for name, (a, _) in merged.weights.items():
        there = a != 0
        torch.testing.assert_close(a[there], one.weights[name][0][there] / 0.25)
        kept, total = kept + int(there.sum()), total + a.numel()
    assert 0.2 < kept / total < 0.3


def test_cat_and_svd_are_exact_where_linear_is_not() -> None:
    model = small_model("llama")
    adapters = [random_adapter(model, i, rank=4, alpha=8.0) for i in range(3)]
    for name in adapters[0].weights:
        total = sum(product(one, name) for one in adapters)
        for how in ("cat", "svd"):
            close = product(merge(adapters, how, weight=1.0, rank=12), name)
            torch.testing.assert_close(close, total, atol=1e-5, rtol=1e-4)
        assert not torch.allclose(product(merge(adapters, "linear", weight=1.0), name), total, atol=1e-3)


def test_an_adapter_comes_back_through_its_own_key_alone() -> None:
    model = small_model("llama")
    adapters = [random_adapter(model, i, rank=4, alpha=8.0) for i in range(2)]
    for name in adapters[0].weights:
        mixed = product(superpose(adapters, [11, 12], 1), name)
        rest = mixed - product(adapters[1], name)
        # The other one has its columns' signs changed, each at random.
        torch.testing.assert_close(rest.abs(), product(adapters[0], name).abs(), atol=1e-5, rtol=1e-4)
        signs = torch.sign(rest * product(adapters[0], name))
        assert (signs == signs[:1]).all()
        assert 0 < int((signs[0] > 0).sum()) < signs.shape[1]


def test_what_cannot_be_merged_is_refused() -> None:
    model = small_model("llama")
    one, other = random_adapter(model, 1, rank=4), random_adapter(model, 2, rank=2)
    with pytest.raises(ValueError, match="no adapters"):
        merge([], "cat")
    with pytest.raises(ValueError, match="'average'; there are cat, svd"):
        merge([one], "average")
    with pytest.raises(ValueError, match="only 'cat' merges adapters of different ranks"):
        merge([one, other], "ties")
    assert merge([one, other], "cat").rank <= 6
