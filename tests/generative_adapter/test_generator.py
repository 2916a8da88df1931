"""The generator's arithmetic: untrained it changes nothing, it reads the right states, and exports what it computes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from harness_generative_adapter.generator import (
    Generator,
    GeneratorConfig,
    decoder_layers,
    find_sites,
)
from harness_generative_adapter.normalise import Form, normalised
from harness_generative_adapter.training import padded
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from harness.errors import UsageError
from harness.models.hf import HfModel
from harness.models.hf_settings import HfSettings
from harness.models.merged import merged
from tests.models import tiny
from tests.models.conftest import Weights

CPU = torch.device("cpu")
SMALL = {"keys": 24, "values": 20, "rank": 6}


@pytest.fixture(scope="module", params=["llama", "qwen2"])
def module(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> nn.Module:
    folder = tiny.write(tmp_path_factory.mktemp("m") / request.param, request.param)
    model: nn.Module = HfModel(HfSettings(path=str(folder), device="cpu"), Weights()).engine.model
    return model


def generator(module: nn.Module, *, trained: bool = True, seed: int = 0, **settings: object) -> Generator:
    """A generator; "trained" here is a ``B`` that is not zero."""
    made = Generator.fresh(module, GeneratorConfig(**{**SMALL, **settings}), seed)  # type: ignore[arg-type]
    if trained:
        for _, cell in made.named_cells():
            nn.init.normal_(cell.b.weight, std=2.0, generator=torch.Generator().manual_seed(seed + 1))
    return made.eval()


def texts(*rows: int) -> list[tuple[int, ...]]:
    return [tuple(range(10 * n, 10 * n + length)) for n, length in enumerate(rows, 1)]


@torch.no_grad()
def logits(module: nn.Module) -> torch.Tensor:
    ids, mask = padded(texts(9), CPU)
    found: torch.Tensor = module(input_ids=ids, attention_mask=mask, use_cache=False).logits
    return found


def test_untrained_it_changes_nothing_bit_for_bit(module: nn.Module) -> None:
    fresh = generator(module, trained=False)
    memory = fresh.normalised(fresh.encode(module, *padded(texts(12), CPU)))
    before = logits(module)
    with torch.no_grad(), fresh.applied(module, memory):
        assert torch.equal(logits(module), before)
    assert torch.equal(logits(module), before)


@pytest.mark.parametrize("how", ["svd", "frobenius"])
@pytest.mark.parametrize("targets", [("o_proj",), ("o_proj", "down_proj")])
def test_the_exported_adapter_does_what_the_hooks_do(module: nn.Module, how: str, targets: tuple[str, ...]) -> None:
    made = generator(module, normalise=how, targets=targets)
    memories = made.encode(module, *padded(texts(14), CPU))
    with torch.no_grad(), made.applied(module, made.normalised(memories)):
        hooked = logits(module)
    adapter = made.adapter(memories)
    with torch.no_grad(), merged(module, (adapter,)):
        exported = logits(module)
    assert not torch.allclose(hooked, logits(module), atol=1e-3)
    assert torch.allclose(hooked, exported, atol=1e-4)
    assert adapter.rank == (SMALL["rank"] if how == "svd" else SMALL["values"])
    assert set(adapter.weights) == {site.name for site in made.sites}


def test_peft_loads_the_adapter_and_gives_the_same_logits(module: nn.Module, tmp_path: Path) -> None:
    import copy

    from peft import PeftModel

    made = generator(module)
    memories = made.encode(module, *padded(texts(14), CPU))
    made.adapter(memories).save(tmp_path)
    with torch.no_grad(), made.applied(module, made.normalised(memories)):
        hooked = logits(module)
    other = PeftModel.from_pretrained(copy.deepcopy(module), str(tmp_path)).eval()
    assert torch.allclose(logits(other), hooked, atol=1e-4)


def test_memories_of_texts_add_up_and_padding_adds_nothing(module: nn.Module) -> None:
    made = generator(module)
    one, two = texts(7, 12)
    together = made.encode(module, *padded([one, two], CPU))
    for place, text in enumerate((one, two)):
        alone = made.encode(module, *padded([text], CPU))
        for name, memory in alone.items():
            assert torch.allclose(memory[0], together[name][place], atol=1e-4)


def test_each_sequence_of_a_batch_uses_its_own_memory(module: nn.Module) -> None:
    made = generator(module)
    memory = made.normalised(made.encode(module, *padded(texts(7, 12), CPU)))
    ids, mask = padded([texts(9)[0]] * 3, CPU)
    with torch.no_grad(), made.applied(module, memory, torch.tensor([1, 0, 1])):
        batch = module(input_ids=ids, attention_mask=mask, use_cache=False).logits
    for row, place in enumerate((1, 0, 1)):
        mine = {name: matrix[place : place + 1] for name, matrix in memory.items()}
        with torch.no_grad(), made.applied(module, mine):
            assert torch.allclose(logits(module)[0], batch[row], atol=1e-4)
    assert not torch.allclose(batch[0], batch[1], atol=1e-3)


@given(st.integers(0, 50), st.integers(1, 4), st.sampled_from(["svd", "frobenius"]))
def test_normalising_takes_the_size_out_and_leaves_an_empty_memory_empty(seed: int, tokens: int, form: Form) -> None:
    draw = torch.Generator().manual_seed(seed)
    # Directions of clearly different sizes, none below the hundredth part that counts as noise.
    left, _ = torch.linalg.qr(torch.randn(1, 8, tokens, generator=draw))
    right, _ = torch.linalg.qr(torch.randn(1, 6, tokens, generator=draw))
    sizes = torch.linspace(0.1, 1, tokens)
    memory = (left * sizes) @ right.transpose(1, 2)
    normal = normalised(memory, form, 5)
    assert torch.allclose(normal, normalised(100 * memory, form, 5), atol=1e-3)
    if form == "svd":
        assert torch.allclose(normal, left @ right.transpose(1, 2), atol=1e-3)
    else:
        assert normal.norm().item() == pytest.approx(5**0.5, rel=1e-3)
    assert normalised(torch.zeros(1, 8, 6), form, 5).abs().max() == 0


@given(st.integers(0, 50))
def test_singular_values_below_the_floor_are_not_blown_up(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    left, _ = torch.linalg.qr(torch.randn(1, 8, 2, generator=draw))
    right, _ = torch.linalg.qr(torch.randn(1, 6, 2, generator=draw))
    memory = (left * torch.tensor([1.0, 1e-4])) @ right.transpose(1, 2)
    values = torch.linalg.svdvals(normalised(memory, "svd", 5))[0]
    assert values[0].item() == pytest.approx(1, rel=1e-3)
    assert values[1].item() == pytest.approx(0.01, rel=0.1)


@given(st.integers(0, 20))
def test_the_gradient_is_the_one_of_the_formula(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    memory = torch.randn(2, 4, 7, generator=draw, dtype=torch.double).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda one: normalised(one, "svd", 4), memory)


def test_the_gradient_stays_small_where_singular_values_meet() -> None:
    memory = torch.eye(6).unsqueeze(0).clone().requires_grad_(True)
    (normalised(memory, "svd", 6) * torch.arange(36.0).view(1, 6, 6)).sum().backward()
    assert memory.grad is not None
    assert memory.grad.abs().max() < 36
    empty = torch.zeros(1, 6, 6, requires_grad=True)
    normalised(empty, "svd", 6).sum().backward()
    assert empty.grad is not None
    assert empty.grad.abs().max() == 0


def test_saved_and_loaded_it_is_the_same_to_sixteen_bits(module: nn.Module, tmp_path: Path) -> None:
    made = generator(module, normalise="frobenius", base="digest")
    made.save(tmp_path)
    again = Generator.load(tmp_path)
    assert again.config == made.config
    assert again.sites == made.sites
    for (_, one), (_, two) in zip(made.named_cells(), again.named_cells(), strict=True):
        assert torch.allclose(one.b.weight, two.b.weight, rtol=1e-3)


def test_every_decoder_layer_is_found(module: nn.Module) -> None:
    prefix, layers = decoder_layers(module)
    assert (prefix, len(layers)) == ("model.layers", 2)
    assert [site.layer for site in find_sites(module, ("o_proj",))] == [0, 1]


def test_what_cannot_be_adapted_is_named(module: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'c_proj' matches no linear layer; there are down_proj"):
        find_sites(module, ("c_proj",))
    with pytest.raises(UsageError, match="no list of decoder layers"):
        decoder_layers(nn.Linear(2, 2))
    with pytest.raises(UsageError, match="harness adapter train"):
        Generator.load(tmp_path)
