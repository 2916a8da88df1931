"""Adapters as values: digests, peft's folder format both ways, initial weights, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import peft
import pytest
import torch

from harness.engine import Adapter, init_lora, resolve_targets

from .models import merged, random_adapter, small_model


@pytest.mark.parametrize("family", ["qwen2", "gpt_neox"])
def test_saved_adapter_loads_in_peft_and_answers_the_same(family: str, tmp_path: Path) -> None:
    model = small_model(family)
    adapter = random_adapter(model, 3, targets=None)
    adapter.save(tmp_path)
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        expected = merged(model, adapter)(ids).logits
        got = peft.PeftModel.from_pretrained(small_model(family), str(tmp_path))(ids).logits
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)
    again = Adapter.load(tmp_path)
    assert again == adapter
    assert again.digest() == adapter.digest()


def test_adapter_written_by_peft_loads(tmp_path: Path) -> None:
    config = peft.LoraConfig(r=4, lora_alpha=16, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    peft.get_peft_model(small_model("llama"), config).save_pretrained(str(tmp_path))
    adapter = Adapter.load(tmp_path)
    assert (adapter.rank, adapter.alpha, adapter.targets) == (4, 16.0, ("down_proj", "q_proj"))
    assert len(adapter.weights) == 4
    with torch.no_grad():
        expected = peft.PeftModel.from_pretrained(small_model("llama"), str(tmp_path))(torch.tensor([[5, 6, 7]])).logits
        got = merged(small_model("llama"), adapter)(torch.tensor([[5, 6, 7]])).logits
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


def test_other_kinds_of_adapter_are_refused(tmp_path: Path) -> None:
    adapter = random_adapter(small_model("llama"), 1)
    adapter.save(tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(json.dumps({**config, "use_dora": True}))
    with pytest.raises(ValueError, match="use_dora"):
        Adapter.load(tmp_path)


def test_digest_sees_every_part() -> None:
    model = small_model("llama")
    one = random_adapter(model, 1)
    name = next(iter(one.weights))
    a, b = one.weights[name]
    changed = Adapter({**one.weights, name: (a, b + 1e-6)}, one.rank, one.alpha, one.targets)
    assert len({one.digest(), changed.digest(), Adapter(one.weights, one.rank, 9.0, one.targets).digest()}) == 3
    assert random_adapter(model, 1).digest() == one.digest()


def test_init_is_peft_s_distribution_and_depends_on_the_seed_alone() -> None:
    model = small_model("llama")
    adapter = init_lora(model, rank=8, alpha=16.0, targets=("q_proj",), seed=7)
    again = init_lora(model, rank=8, alpha=16.0, targets=("q_proj",), seed=7)
    assert adapter == again
    assert adapter != init_lora(model, rank=8, alpha=16.0, targets=("q_proj",), seed=8)
    for a, b in adapter.weights.values():
        bound = a.shape[1] ** -0.5
        assert a.abs().max() <= bound
        assert a.abs().max() > 0.9 * bound
        assert not b.any()


def test_targets() -> None:
    model = small_model("qwen2")
    assert resolve_targets(model, None)[1] == ("q_proj", "v_proj")
    names, suffixes = resolve_targets(model, "all-linear")
    assert len(names) == 14
    assert "lm_head" not in suffixes
    with pytest.raises(ValueError, match="matches no linear module; known: down_proj"):
        resolve_targets(model, ("query",))
    with pytest.raises(ValueError, match="output head"):
        resolve_targets(model, ("lm_head",))


@pytest.mark.parametrize(("family", "suffixes"), [("qwen2", ("q_proj", "v_proj")), ("gpt_neox", ("query_key_value",))])
def test_qv_is_the_fused_projection_where_there_is_no_other(family: str, suffixes: tuple[str, ...]) -> None:
    model = small_model(family)
    assert resolve_targets(model, "qv")[1] == suffixes
    assert init_lora(model, rank=2, alpha=4.0, targets="qv", seed=0).targets == suffixes
