"""Many LoRA adapters trained and decoded together on one frozen causal LM.

Stands alone: imports torch, transformers, peft, numpy, safetensors and the standard library, and nothing else of the
harness. Token ids in, token ids and adapters out.
"""

from .adapter import Adapter, init_lora, resolve_targets, stack_digest
from .engine import Engine
from .jobs import Generated, GenerationRow, HyperParameters, Padding, TrainJob, TrainResult, TrainSequence
from .memory import MemoryPlan
from .score import HiddenRow, ScoreRow

__all__ = [
    "Adapter",
    "Engine",
    "Generated",
    "GenerationRow",
    "HiddenRow",
    "HyperParameters",
    "MemoryPlan",
    "Padding",
    "ScoreRow",
    "TrainJob",
    "TrainResult",
    "TrainSequence",
    "init_lora",
    "resolve_targets",
    "stack_digest",
]
