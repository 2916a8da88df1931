"""The engine's batch limits: derived from the free memory, recorded with the run, and reused on resume."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from .adapter import Targets, resolve_targets
from .split import layers

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_FP32 = 4


@dataclass(frozen=True)
class MemoryPlan:
    """Batch limits. They affect speed and rounding only; a resumed run must use the same plan.

    `slots`: adapters trained together. `tokens`: token positions in one training or scoring forward. `rows`:
    completions decoded together. `cache_tokens`: key/value cache positions of all rows together.
    """

    slots: int = 16
    tokens: int = 2048
    rows: int = 128
    cache_tokens: int = 65536

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"memory plan: {name} must be a positive integer, got {value!r}")

    @classmethod
    def resolve(
        cls,
        model: PreTrainedModel,
        *,
        rank: int = 32,
        targets: Targets = None,
        budget: float = 0.6,
        free: int | None = None,
    ) -> MemoryPlan:
        """The plan for adapters of `rank` on `targets`, given the fraction `budget` of the free memory.

        A quarter of that goes to adapter states, a half to activations and a quarter to the key/value cache; each is
        capped where more would not be faster (16 slots fill a CPU cache; 128 on an accelerator). `free` (bytes)
        overrides the measurement, for tests and for shared machines.
        """
        slots = tokens = cache = 1 << 62
        devices = dict.fromkeys(parameter.device for parameter in model.parameters())
        for device in devices:  # each has room for what lies with its own layers
            room = int((free_memory(device) if free is None else free) * budget)
            here = device if len(devices) > 1 else None
            slots = min(slots, room // 4 // max(1, adapter_bytes(model, rank, targets, here)))
            tokens = min(tokens, room // 2 // max(1, activation_bytes_per_token(model, here)))
            cache = min(cache, room // 4 // max(1, cache_bytes_per_token(model, here)))
        cpu = device.type == "cpu"
        return cls(
            slots=max(1, min(16 if cpu else 128, slots)),
            tokens=max(256, min(2048 if cpu else 8192, tokens)),
            rows=max(1, min(128 if cpu else 512, cache // 256)),
            cache_tokens=max(4096, min(65536 if cpu else 1 << 20, cache)),
        )

    def to_json(self) -> dict[str, int]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, int]) -> MemoryPlan:
        return cls(**values)

    def halved(self) -> MemoryPlan | None:
        """The next smaller plan, for use after running out of memory, or None when nothing is left to halve."""
        if max(self.slots, self.tokens, self.rows) == 1:
            return None
        return MemoryPlan(**{name: max(1, value // 2) for name, value in asdict(self).items()})


def free_memory(device: torch.device) -> int:
    """Free bytes on the device: on CUDA what torch could still allocate, on the CPU what the system reports
    available."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        with open("/proc/meminfo") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass  # not Linux: the page count above does not include reclaimable caches, which only makes the plan smaller
    return available


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory ran out: torch's class, Python's, or the CPU allocator's RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)


def adapter_bytes(model: PreTrainedModel, rank: int, targets: Targets, device: torch.device | None = None) -> int:
    """Bytes of one adapter in training, or of its part on a device: value, gradient, AdamW's two moments in fp32, and a
    copy in the model's dtype."""
    names, _ = resolve_targets(model, targets)
    numbers = 0
    for name in names:
        module = model.get_submodule(name)
        assert isinstance(module, torch.nn.Linear)
        if device is None or module.weight.device == device:
            numbers += rank * (module.in_features + module.out_features)
    copy = 0 if model.dtype == torch.float32 else model.dtype.itemsize
    return numbers * (4 * _FP32 + copy)


def activation_bytes_per_token(model: PreTrainedModel, device: torch.device | None = None) -> int:
    """Bytes that one token position keeps for the backward pass, everywhere or on a device: every linear's input and
    output, norms, and fp32 logits.

    Counted are each linear's input and output once, four times the hidden size per layer in fp32 for norms and
    residuals, and three vocabulary-sized fp32 rows (logits, log-softmax, its gradient).
    """
    config = model.config
    linears = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and device in (None, m.weight.device)]
    sizes = sum(m.in_features + m.out_features for m in linears)
    norms = 2 * 2 * config.hidden_size * _layers(model, device)
    head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    vocabulary = config.vocab_size if device in (None, head.weight.device) else 0
    return int(model.dtype.itemsize * sizes + _FP32 * norms + 3 * _FP32 * vocabulary)


def cache_bytes_per_token(model: PreTrainedModel, device: torch.device | None = None) -> int:
    """Bytes of one token's keys and values in all layers, or in those on a device."""
    config = model.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * _layers(model, device) * heads * dim * model.dtype.itemsize)


def _layers(model: PreTrainedModel, device: torch.device | None) -> int:
    """Decoder layers, or those on a device."""
    if device is None:
        return int(model.config.num_hidden_layers)
    return sum(next(layer.parameters()).device == device for layer in layers(model))
