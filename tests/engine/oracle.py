"""The sequential reference: one peft adapter at a time, one sequence after another, plain torch optimiser."""

from __future__ import annotations

import copy
from typing import Any

import peft
import torch
from torch import Tensor
from transformers import PreTrainedModel

from harness.engine import Adapter, Sft, TrainJob, TrainSequence, init_lora, learning_rate, step_batches
from harness.engine.losses import resolve_loss, target_weights, targets
from harness.engine.schedule import groups, steps_per_epoch

from .models import merged


def token_logprobs(model: Any, sequence: TrainSequence) -> Tensor:
    """Log-probabilities of the sequence's weighted targets."""
    device = next(model.parameters()).device
    logprobs = model(input_ids=torch.tensor([sequence.ids], device=device)).logits[0].float().log_softmax(-1)
    wanted = targets(sequence)
    return logprobs[[t - 1 for t in wanted], [sequence.ids[t] for t in wanted]]


def train_alone(model: PreTrainedModel, job: TrainJob) -> Adapter:
    """The job's adapter, trained by peft with the engine's initial weights, data order and schedule."""
    hp, loss = job.hp, resolve_loss(job.loss)
    base = merged(model, *job.stack) if job.stack else copy.deepcopy(model)
    start = job.init or init_lora(base, rank=hp.rank, alpha=hp.alpha, targets=hp.targets, seed=job.seed)
    config = peft.LoraConfig(r=hp.rank, lora_alpha=hp.alpha, target_modules=list(start.targets), lora_dropout=0.0)
    tuned: Any = peft.get_peft_model(base, config)
    layers = {name: tuned.base_model.model.get_submodule(name) for name in start.weights}
    with torch.no_grad():
        for name, (a, b) in start.weights.items():
            layers[name].lora_A["default"].weight.copy_(a)
            layers[name].lora_B["default"].weight.copy_(b)
        for sequence in job.sequences:
            if getattr(loss, "needs_reference", False):
                sequence.meta["reference"] = token_logprobs(tuned, sequence).tolist()  # type: ignore[index]
    parameters = [p for p in tuned.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=hp.learning_rate, betas=hp.betas, eps=hp.eps, weight_decay=hp.weight_decay
    )
    held = held_back(base, tuned, layers, job) if isinstance(loss, Sft) and loss.restrains else None
    if held:
        held.project()
    units = groups(job.sequences)
    total = hp.epochs * steps_per_epoch(len(units), hp)
    for step in range(total):
        batches = [
            [job.sequences[i] for unit in batch for i in units[unit]]
            for batch in step_batches(len(units), step, hp, job.seed)
        ]
        if isinstance(loss, Sft):
            members = [s for batch in batches for s in batch]
            weight = sum(sum(target_weights(s)) for s in members)
            for s in members:
                weights = torch.tensor(target_weights(s), device=base.device)
                (-(token_logprobs(tuned, s) * weights).sum() / weight).backward()
        elif hasattr(loss, "total"):
            members = [s for batch in batches for s in batch]
            for s in members:
                (loss([token_logprobs(tuned, s)], [s]) / loss.total(members)).backward()
        else:
            for batch in batches:
                (loss([token_logprobs(tuned, s) for s in batch], batch) / len(batches)).backward()
        if held:
            held.penalty().backward()
        if hp.clip:
            torch.nn.utils.clip_grad_norm_(parameters, hp.clip)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(hp, step, total)
        optimizer.step()
        if held:
            held.project()
        optimizer.zero_grad()
    weights_of = lambda layer, side: getattr(layer, side)["default"].weight.detach().cpu().clone()  # noqa: E731
    weights = {name: (weights_of(layer, "lora_A"), weights_of(layer, "lora_B")) for name, layer in layers.items()}
    return Adapter(weights, hp.rank, float(hp.alpha), start.targets)


class HeldBack:
    """The restraints of a job by their formulas, on peft's own parameters, through autograd."""

    def __init__(self, loss: Sft, parts: dict[tuple[str, int], Any]) -> None:
        self.loss, self.parts = loss, parts
        self.start = {key: part.detach().clone() for key, part in parts.items()}
        self.fisher: dict[tuple[str, int], Tensor] = {}
        self.below: dict[str, Tensor] = {}
        self.kept: dict[str, Tensor] = {}

    def penalty(self) -> Tensor:
        value = torch.zeros((), requires_grad=True)
        for key, fisher in self.fisher.items():
            value = value + self.loss.ewc / 2 * (fisher * (self.parts[key] - self.start[key]) ** 2).sum()
        for name, old in self.below.items():
            value = value + self.loss.orthogonal * (old @ self.parts[name, 0].t()).abs().sum()
        return value

    def project(self) -> None:
        with torch.no_grad():
            for name, u in self.kept.items():
                a = self.parts[name, 0]
                a.copy_(a @ (torch.eye(len(u)) - u @ u.t()))


def held_back(base: Any, tuned: Any, layers: dict[str, Any], job: TrainJob) -> HeldBack:
    """Measured sequence by sequence on the model as the job finds it."""
    loss: Any = job.loss
    sides = ("lora_A", "lora_B")
    parts = {(name, i): getattr(layer, sides[i])["default"].weight for name, layer in layers.items() for i in range(2)}
    held = HeldBack(loss, parts)
    if loss.ewc and job.retained:
        held.fisher = {key: torch.zeros_like(part) for key, part in parts.items()}
        for one in job.retained:
            weights = torch.tensor(target_weights(one))
            value = -(token_logprobs(tuned, one) * weights).sum() / weights.sum()
            for (key, _), gradient in zip(parts.items(), torch.autograd.grad(value, list(parts.values())), strict=True):
                held.fisher[key] += gradient**2
        for key, table in held.fisher.items():
            held.fisher[key] = table / table.mean() if table.mean() > 0 else table
    if loss.orthogonal:
        for name in layers if job.stack else ():
            held.below[name] = torch.cat([adapter.weights[name][0] for adapter in job.stack])
    if loss.null_space and job.retained:
        seen: dict[str, list[Tensor]] = {name: [] for name in layers}
        hooks = [
            layer.register_forward_pre_hook(lambda _, args, name=name: seen[name].append(args[0].detach()[0]))
            for name, layer in layers.items()
        ]
        with torch.no_grad():
            for one in job.retained:
                tuned(input_ids=torch.tensor([one.ids]))
        for hook in hooks:
            hook.remove()
        for name, found in seen.items():
            _, s, vt = torch.linalg.svd(torch.cat(found), full_matrices=False)
            energy = (s**2).cumsum(0) / (s**2).sum()
            count = min(int((energy < loss.null_space).sum()) + 1, len(s))
            held.kept[name] = vt[:count].t()
    return held


def assert_same(one: Adapter, other: Adapter, *, a: float = 5e-4, b: float = 1e-4) -> None:
    """max |dA| and max |dB| within the engine's promised distance of the sequential result."""
    assert set(one.weights) == set(other.weights)
    for name, pair in one.weights.items():
        assert (pair[0] - other.weights[name][0]).abs().max() <= a, name
        assert (pair[1] - other.weights[name][1]).abs().max() <= b, name
