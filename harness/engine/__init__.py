"""Many LoRA adapters trained and decoded together on one frozen causal LM.

The package stands alone: it imports torch, transformers, peft, numpy, safetensors and the standard library, and nothing
else of the harness. It takes token ids, and returns token ids and adapters.
"""

from .adapter import AdamState, Adapter, init_lora, resolve_targets, stack_digest
from .data_parallel import full_finetune_together
from .distil import Distribution, divergence
from .dropout import Thinned
from .engine import Engine
from .fold import fold
from .forward import plain_weights
from .full import FullResult, full_finetune
from .jobs import Generated, GenerationRow, HyperParameters, Loss, Padding, TrainJob, TrainResult, TrainSequence
from .losses import Dpo, Grpo, Rloo, Sft
from .memory import MemoryPlan
from .merge import MERGES, merge, superpose
from .schedule import epoch_order, learning_rate, step_batches
from .score import HiddenRow, ScoreRow

__all__ = [
    "MERGES",
    "AdamState",
    "Adapter",
    "Distribution",
    "Dpo",
    "Engine",
    "FullResult",
    "Generated",
    "GenerationRow",
    "Grpo",
    "HiddenRow",
    "HyperParameters",
    "Loss",
    "MemoryPlan",
    "Padding",
    "Rloo",
    "ScoreRow",
    "Sft",
    "Thinned",
    "TrainJob",
    "TrainResult",
    "TrainSequence",
    "divergence",
    "epoch_order",
    "fold",
    "full_finetune",
    "full_finetune_together",
    "init_lora",
    "learning_rate",
    "merge",
    "plain_weights",
    "resolve_targets",
    "stack_digest",
    "step_batches",
    "superpose",
]
