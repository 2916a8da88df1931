"""The engine benchmark's workload: random-weight models, and training jobs with the lengths of real self-edits."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel, Qwen2Config

from harness.engine import HyperParameters, TrainJob, TrainSequence

CHARACTERS_PER_TOKEN = 4.5


@dataclass(frozen=True)
class Case:
    """A model and how its adapters are trained."""

    name: str
    make: Callable[[], PreTrainedModel]
    hp: HyperParameters
    slots: tuple[int, ...]

    def build(self, device: torch.device) -> PreTrainedModel:
        """The model, made on the device that it will run on."""
        with device:
            return self.make().to(device)  # type: ignore[arg-type]


def qwen2(
    hidden: int, layers: int, heads: int, kv: int, inner: int, vocab: int, dtype: torch.dtype = torch.float32
) -> PreTrainedModel:
    config = Qwen2Config(
        vocab_size=vocab,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv,
        max_position_embeddings=4096,
        tie_word_embeddings=hidden < 3000,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        attn_implementation="sdpa",
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    assert isinstance(model, PreTrainedModel)
    return model


def load(folder: Path) -> PreTrainedModel:
    """A checkpoint in fp32."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
    assert isinstance(model, PreTrainedModel)
    return model


def cpu_cases(lab: Path | None) -> list[Case]:
    """Tiny models, LoRA on every linear."""
    everywhere = HyperParameters(rank=16, alpha=32, targets="all-linear")
    cases = [
        Case("0.5M", lambda: qwen2(96, 4, 4, 2, 256, 1024), everywhere, (1, 4, 16)),
        Case("2M", lambda: qwen2(192, 4, 6, 2, 512, 1536), everywhere, (1, 4, 16)),
    ]
    if lab is not None:
        cases.append(Case("lab", lambda: load(lab), everywhere, (1, 16)))
    return cases


def cuda_cases() -> list[Case]:
    """The published models' shapes in bf16, LoRA as published."""
    published = HyperParameters(rank=32, alpha=64, targets=("q_proj", "v_proj"))
    half = torch.bfloat16
    return [
        Case("Qwen2.5-0.5B", lambda: qwen2(896, 24, 14, 2, 4864, 151936, half), published, (32, 64)),
        Case("Qwen2.5-7B", lambda: qwen2(3584, 28, 28, 4, 18944, 152064, half), published, (32,)),
    ]


def edit_lengths(shared: Path) -> tuple[list[list[int]], str]:
    """Token lengths of every edit's sequences (title, then a line or the passage), and where they come from."""
    path = shared / "seal" / "edits" / "val_base.json"
    edits = []
    if not path.exists():
        rng = random.Random(0)
        for _ in range(200):
            edits.append([rng.randint(15, 50) for _ in range(rng.randint(4, 10))] + [rng.randint(100, 300)])
        return edits, f"drawn lengths (no {path})"
    for passage in json.loads(path.read_text()):
        for completion in passage["completions"][:1]:
            text = completion if isinstance(completion, str) else completion["text"]
            lines = [line.strip() for line in text.split("\n") if line.strip()]
            pieces = [f"{passage['title']}\n{piece}" for piece in [*lines, passage["context"].strip()]]
            edits.append([max(2, round(len(piece) / CHARACTERS_PER_TOKEN)) for piece in pieces])
    return edits, "recorded self-edits val_base.json"


def jobs_for(edits: Sequence[Sequence[int]], hp: HyperParameters, vocab: int, count: int) -> list[TrainJob]:
    """The first `count` edits as jobs, with random token ids."""
    rng = random.Random(0)
    jobs = []
    for i in range(count):
        lengths = edits[i % len(edits)]
        rows = tuple(TrainSequence(tuple(rng.randrange(3, vocab) for _ in range(n))) for n in lengths)
        jobs.append(TrainJob(f"edit{i}", rows, hp, seed=i))
    return jobs


def tokens(jobs: Iterable[TrainJob]) -> int:
    """The number of token positions that the jobs train on."""
    return sum(len(s.ids) * job.hp.epochs for job in jobs for s in job.sequences)
