"""One LoRA adapter through ``peft`` and a plain loop with the mathematics of ``transformers.Trainer``.

AdamW, clipping, linear decay, and a loss that is the mean over all target tokens of an optimiser step. Initial weights
and the order of the data are the engine's, so that both train the same thing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import get_scheduler

from harness.engine import Adapter, HyperParameters, TrainSequence, init_lora, step_batches
from harness.engine.split import DIVIDED
from harness.models.loss_curve import thinned

_SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}


def finetune(
    module: Any, sequences: Sequence[TrainSequence], hp: HyperParameters, seed: int, *, dropout: float = 0.0
) -> tuple[Adapter | None, dict[str, Any]]:
    """Train one adapter on a frozen causal LM; the module is left as it was.

    Returns:
        The adapter (None where loss, gradient or weights stopped being finite), and a log: ``steps``, ``tokens``
        (positions computed), ``seconds``, ``loss`` of the last step.

    Raises:
        ValueError: the model lacks a target module, or is divided among several devices.
    """
    if len({parameter.device for parameter in module.parameters()}) > 1:
        raise ValueError(DIVIDED)
    start = init_lora(module, rank=hp.rank, alpha=hp.alpha, targets=hp.targets, seed=seed)
    with seeded(seed), _injected(module, start, dropout) as (model, pairs):
        finite, log = fit(model, [parameter for pair in pairs.values() for parameter in pair], sequences, hp, seed)
        weights = {name: (_own(a), _own(b)) for name, (a, b) in pairs.items()}
    if not finite or not all(tensor.isfinite().all() for pair in weights.values() for tensor in pair):
        return None, {**log, "loss": None}
    return Adapter(weights, hp.rank, float(hp.alpha), start.targets), log


def fit(
    model: Any, trained: Sequence[nn.Parameter], sequences: Sequence[TrainSequence], hp: HyperParameters, seed: int
) -> tuple[bool, dict[str, Any]]:
    """Train some parameters of a model, in place; whether loss and gradient stayed finite, and the log."""
    began = time.perf_counter()
    log: dict[str, Any] = {"steps": 0, "tokens": 0, "loss": None}
    optimizer = torch.optim.AdamW(
        trained, lr=hp.learning_rate, betas=hp.betas, eps=hp.eps, weight_decay=hp.weight_decay
    )
    total = hp.epochs * -(-len(sequences) // (hp.batch_size * hp.grad_accumulation))
    schedule = get_scheduler(
        _SCHEDULES[hp.schedule], optimizer, num_warmup_steps=hp.warmup_steps, num_training_steps=total
    )
    device = next(model.parameters()).device
    finite, losses = True, []
    for step in range(total):
        batches = [[sequences[i] for i in batch] for batch in step_batches(len(sequences), step, hp, seed)]
        rows = [_Rows(batch, device) for batch in batches]
        count = sum(float(part.weights[:, 1:].sum()) for part in rows) or 1.0
        loss = 0.0
        for part in rows:
            value = part.loss(model) / count
            value.backward()  # type: ignore[no-untyped-call]
            loss += float(value.detach())
        norm = nn.utils.clip_grad_norm_(trained, hp.clip or float("inf"))
        log = {"steps": step + 1, "tokens": log["tokens"] + sum(part.ids.numel() for part in rows), "loss": loss}
        losses.append(loss)
        finite = bool(norm.isfinite()) and abs(loss) < float("inf")
        if not finite:
            break
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    return finite, {**log, "seconds": time.perf_counter() - began, "losses": thinned(losses)}


class _Rows:
    """A batch padded on the right to one length: ids, which of them are attended to, and their loss weights."""

    def __init__(self, batch: Sequence[TrainSequence], device: torch.device) -> None:
        length = max(max(len(one.ids), one.padding.to if one.padding else 0) for one in batch)
        ids = torch.zeros(len(batch), length, dtype=torch.long)
        seen = torch.zeros(len(batch), length, dtype=torch.long)
        weights = torch.zeros(len(batch), length)
        for row, one in enumerate(batch):
            count = len(one.ids)
            ids[row, :count] = torch.tensor(one.ids)
            seen[row, :count] = 1
            weights[row, :count] = 1.0 if one.weights is None else torch.tensor(one.weights)
            if one.padding is not None:
                ids[row, count : one.padding.to] = one.padding.token
                weights[row, count : one.padding.to] = 1.0
        self.ids, self.seen, self.weights = ids.to(device), seen.to(device), weights.to(device)

    def loss(self, model: Any) -> Tensor:
        """The weighted sum of all targets' cross-entropies."""
        logits = model(input_ids=self.ids, attention_mask=self.seen, use_cache=False).logits[:, :-1].float()
        each = F.cross_entropy(logits.flatten(0, 1), self.ids[:, 1:].flatten(), reduction="none")
        return (each * self.weights[:, 1:].flatten()).sum()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's own generators (dropout draws from them) seeded for a while, and gradients on."""
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(seed)
        yield


@contextmanager
def _injected(
    module: Any, start: Adapter, dropout: float
) -> Iterator[tuple[Any, dict[str, tuple[nn.Parameter, nn.Parameter]]]]:
    """The module wrapped by peft, with an adapter that begins as ``start``, and its (A, B) by module name."""
    config = LoraConfig(
        r=start.rank,
        lora_alpha=start.alpha,  # type: ignore[arg-type]  # peft takes any number
        lora_dropout=dropout,
        target_modules=sorted(start.weights),
        task_type="CAUSAL_LM",
    )
    model: Any = get_peft_model(module, config)
    try:
        pairs = {}
        for name, values in start.weights.items():
            layer = model.get_submodule(f"base_model.model.{name}")
            pairs[name] = (layer.lora_A["default"].weight, layer.lora_B["default"].weight)
            with torch.no_grad():
                for parameter, value in zip(pairs[name], values, strict=True):
                    parameter.copy_(value)
        model.train()
        yield model, pairs
    finally:
        model.unload()


def _own(parameter: Tensor) -> Tensor:
    return parameter.detach().to("cpu", torch.float32).clone()
