"""Full fine-tuning of one model, for continued pretraining: packed, with gradient accumulation and small optimiser
states where memory is short."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from .forward import FrozenModel
from .group import ALONE, Group
from .jobs import HyperParameters, TrainSequence
from .lean import LeanAdamW
from .linear import Parts
from .losses import target_weights, targets
from .memory import MemoryPlan, is_out_of_memory
from .pack import Pack
from .prepare import cost, data_problem, pad_targets
from .schedule import learning_rate, step_batches, steps_per_epoch
from .split import DIVIDED

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class FullResult:
    """A finished full fine-tune: `weights` has every parameter by name, on the CPU in the model's dtype ("ok" only).

    `status`, `reason`, `losses`, `steps`, `tokens`, `seconds` and `reduced` are as in `TrainResult`.
    """

    status: Literal["ok", "failed", "error"]
    reason: str = ""
    weights: Mapping[str, Tensor] | None = None
    losses: tuple[float, ...] = ()
    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0
    reduced: bool = False


def full_finetune(
    model: PreTrainedModel,
    sequences: Sequence[TrainSequence],
    hp: HyperParameters,
    *,
    seed: int = 0,
    plan: MemoryPlan | None = None,
    lean: bool | None = None,
    group: Group = ALONE,
) -> FullResult:
    """Train all weights of `model` on `sequences`, and restore the model bit for bit afterwards.

    Loss, data order, accumulation, clipping and schedule are those of an "sft" `TrainJob`; the LoRA fields of `hp` have
    no effect. `lean` (the default on CUDA) uses `LeanAdamW` instead of AdamW: for a bf16 model 6 bytes per weight in
    all (weight, gradient, first moment) instead of 12.

    Raises:
        ValueError: the model is divided among several devices.

    In a `group`, every process calls this with the same arguments, each with a copy of the model of its own, and gets
    the same result: each computes a share of every step's gradient. See :mod:`harness.engine.data_parallel`.
    """
    plan = plan or MemoryPlan.resolve(model)
    began = time.perf_counter()
    frozen = FrozenModel(model)
    if len(frozen.devices) > 1:
        raise ValueError(DIVIDED)
    problem = hp.problem() or data_problem(sequences, model.config.vocab_size, frozen.window)
    if problem:
        return FullResult("failed", problem)
    with _kept(model):
        parameters = [p.requires_grad_() for p in model.parameters()]
        use_lean = frozen.device.type == "cuda" if lean is None else lean
        optimizer: torch.optim.Optimizer
        if use_lean:
            optimizer = LeanAdamW(parameters, betas=hp.betas, eps=hp.eps, weight_decay=hp.weight_decay, seed=seed)
        else:
            optimizer = torch.optim.AdamW(parameters, betas=hp.betas, eps=hp.eps, weight_decay=hp.weight_decay)
        total = hp.epochs * steps_per_epoch(len(sequences), hp)
        budget, reduced, trained = plan.tokens, False, 0
        losses: list[float] = []
        while len(losses) < total:
            step = len(losses)
            members = [i for batch in step_batches(len(sequences), step, hp, seed) for i in batch]
            message = ""
            try:
                loss = _gradients(frozen, sequences, members, budget, f"{seed}/{step}", group)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                message = str(error).splitlines()[0] or "out of memory"
            if not group.any(bool(message)):
                loss = group.sum(parameters, loss)
                norm = float(torch.nn.utils.clip_grad_norm_(parameters, hp.clip or float("inf")))
                losses.append(loss)
                if not (abs(loss) < float("inf") and norm < float("inf")):
                    reason = f"diverged in step {step + 1} of {total}: loss {loss:g}, gradient norm {norm:g}"
                    return FullResult("failed", reason, None, tuple(losses), step + 1, trained)
                for options in optimizer.param_groups:
                    options["lr"] = learning_rate(hp, step, total)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                trained += sum(cost(sequences[i]) for i in members)
                continue
            optimizer.zero_grad(set_to_none=True)
            if budget <= max(cost(sequences[i]) for i in members):
                where = message or "in another process"
                return FullResult("error", f"out of memory with one sequence per forward: {where}", reduced=True)
            budget, reduced = budget // 2, True
            if frozen.device.type == "cuda":
                torch.cuda.empty_cache()
        weights = {name: p.detach().to("cpu", copy=True) for name, p in model.named_parameters()}
    seconds = time.perf_counter() - began
    return FullResult("ok", "", weights, tuple(losses), total, trained, seconds, reduced)


def _gradients(
    frozen: FrozenModel,
    sequences: Sequence[TrainSequence],
    members: Sequence[int],
    budget: int,
    draw: str,
    group: Group,
) -> float:
    """Accumulate the gradient of this process's share of one step's loss over forwards of at most `budget` tokens;
    returns the share."""
    weight = sum(sum(target_weights(sequences[i])) + pad_targets(sequences[i]) for i in members) or 1.0
    packs: list[Pack] = []
    for i in group.share(members, [cost(sequences[i]) for i in members]):
        if not packs or len(packs[-1].ids) + cost(sequences[i]) > budget:
            packs.append(Pack())
        packs[-1].add(sequences[i], targets(sequences[i]), target_weights(sequences[i]), weight, f"{draw}/{i}")
    value = 0.0
    for pack in packs:
        if pack.keep:
            losses, weights = pack.losses(frozen, Parts())
            loss = (losses * weights).sum()
            loss.backward()  # type: ignore[no-untyped-call]
            value += float(loss.detach())
    return value


@contextmanager
def _kept(model: PreTrainedModel) -> Iterator[None]:
    """Restore every weight and its `requires_grad` on exit, and drop the gradients."""
    before = {name: p.detach().to("cpu", copy=True) for name, p in model.named_parameters()}
    flags = {name: p.requires_grad for name, p in model.named_parameters()}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(before[name])
                parameter.grad = None
                parameter.requires_grad_(flags[name])
