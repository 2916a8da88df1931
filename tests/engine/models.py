"""Small random models of several families, and adapters for them, for the engine's tests."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from harness.engine import Adapter, init_lora

VOCAB = 97
FAMILIES = ("qwen2", "llama", "gpt_neox", "qwen3", "mistral", "phi")


def small_model(family: str, seed: int = 0, dtype: torch.dtype = torch.float32, **more: Any) -> PreTrainedModel:
    """A two-layer model; weights are drawn wide enough that logits differ clearly between tokens."""
    heads: dict[str, Any] = {} if family in ("gpt_neox", "phi") else {"num_key_value_heads": 2}
    if family in ("qwen3", "mistral", "llama"):
        heads["head_dim"] = 16
    config = CONFIG_MAPPING[family](
        vocab_size=VOCAB, intermediate_size=48, num_attention_heads=4,
        max_position_embeddings=256, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        **{"hidden_size": 32, "num_hidden_layers": 2, "tie_word_embeddings": False, **heads, **more},
    )  # fmt: skip
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.dim() == 2:
            with torch.no_grad():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * parameter.shape[1] ** -0.5 * 1.5)
    return model.eval()


def random_adapter(
    model: PreTrainedModel, seed: int, *, rank: int = 4, alpha: float = 8.0, targets: Any = "all-linear"
) -> Adapter:
    """An adapter with a B large enough to change the model's answers."""
    fresh = init_lora(model, rank=rank, alpha=alpha, targets=targets, seed=seed)
    generator = torch.Generator().manual_seed(seed + 1)
    weights = {name: (a, torch.randn(b.shape, generator=generator) * 0.3) for name, (a, b) in fresh.weights.items()}
    return Adapter(weights, fresh.rank, fresh.alpha, fresh.targets)


def merged(model: PreTrainedModel, *stack: Adapter) -> PreTrainedModel:
    """A copy of the model with the stack added into its weights: the plain reference for everything."""
    import copy

    clone = copy.deepcopy(model)
    with torch.no_grad():
        for adapter in stack:
            for name, (a, b) in adapter.weights.items():
                weight = clone.get_submodule(name).weight
                weight += adapter.scale * (b @ a).to(weight.dtype).to(weight.device)
    return clone
