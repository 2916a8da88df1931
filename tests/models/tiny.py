"""Tiny random causal LMs with their own tokenizer, written to a folder as any user's model would be."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

CHAT = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_CORPUS = [
    "The lighthouse at Kemble Point was built in 1871 by Ada Marsh and rebuilt after the storm.",
    "Question: who built the tower? Answer: Ada Marsh, in 1871.",
    "A list of implications derived directly or indirectly from the content of the passage.",
] * 4


def tokenizer(*, bos: bool, end: str, template: str | None) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of 320 tokens; ``bos`` puts ``<s>`` in front of raw text."""
    special = ["<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        _CORPUS,
        trainers.BpeTrainer(vocab_size=320, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    if bos:
        core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", bos_token="<s>", eos_token=end)
    if template is not None:
        fast.chat_template = template
    return fast


def write(
    folder: Path,
    family: str = "llama",
    *,
    seed: int = 0,
    positions: int = 128,
    end: str = "</s>",
    template: str | None = None,
    shard: str = "5GB",
) -> Path:
    """A random model of about 60k parameters with its tokenizer; weights are large enough that answers differ."""
    fast = tokenizer(bos=family == "llama", end=end, template=template)
    size = {
        "vocab_size": len(fast), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": positions,
        "bos_token_id": 1, "eos_token_id": fast.convert_tokens_to_ids(end), "pad_token_id": 0, "initializer_range": 0.4,
    }  # fmt: skip
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(**size)) if family == "llama" else Qwen2ForCausalLM(Qwen2Config(**size))
    model.generation_config = GenerationConfig(eos_token_id=size["eos_token_id"], pad_token_id=0)
    model.save_pretrained(folder, max_shard_size=shard)
    fast.save_pretrained(folder)
    return folder
