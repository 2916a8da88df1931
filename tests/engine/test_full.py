"""Full fine-tuning: equals a plain loop, and gives the model back untouched."""

from __future__ import annotations

import copy

import pytest
import torch

from harness.engine import (
    HyperParameters,
    MemoryPlan,
    Padding,
    TrainSequence,
    full_finetune,
    full_finetune_together,
    learning_rate,
    step_batches,
)
from harness.engine.losses import target_weights
from harness.engine.schedule import steps_per_epoch

from .models import small_model
from .oracle import token_logprobs
from .test_train import OutOfMemoryAbove, padded_reference, sequences

HP = HyperParameters(learning_rate=1e-3, epochs=2, batch_size=2, grad_accumulation=2, weight_decay=0.1, warmup_steps=1)
PLAN = MemoryPlan(tokens=60)


def plain_loop(model: torch.nn.Module, rows: tuple[TrainSequence, ...], hp: HyperParameters) -> dict[str, torch.Tensor]:
    tuned = copy.deepcopy(model).requires_grad_(True)
    optimizer = torch.optim.AdamW(tuned.parameters(), weight_decay=hp.weight_decay)
    total = hp.epochs * steps_per_epoch(len(rows), hp)
    for step in range(total):
        members = [rows[i] for batch in step_batches(len(rows), step, hp, 0) for i in batch]
        weight = sum(sum(target_weights(row)) for row in members)
        for row in members:
            (-(token_logprobs(tuned, row) * torch.tensor(target_weights(row))).sum() / weight).backward()
        torch.nn.utils.clip_grad_norm_(tuned.parameters(), hp.clip)
        optimizer.param_groups[0]["lr"] = learning_rate(hp, step, total)
        optimizer.step()
        optimizer.zero_grad()
    return {name: p.detach() for name, p in tuned.named_parameters()}


def test_equals_a_plain_loop_and_restores_the_model(products: str) -> None:
    model = small_model("qwen2")
    before = {name: p.clone() for name, p in model.named_parameters()}
    rows = sequences(7, 0)
    result = full_finetune(model, rows, HP, plan=PLAN)
    expected = plain_loop(model, rows, HP)
    assert result.status == "ok"
    assert result.weights is not None
    assert result.steps == len(result.losses) == 4
    for name, weight in expected.items():
        torch.testing.assert_close(result.weights[name], weight, atol=1e-4, rtol=1e-4)
        assert not torch.equal(weight, before[name])
    assert all(torch.equal(before[name], p) and not p.requires_grad for name, p in model.named_parameters())


def test_padding_in_the_loss_equals_the_padded_run() -> None:
    """One step: loss and weights are those of the truly padded batch."""
    model = small_model("qwen2")
    rows = tuple(TrainSequence(row.ids, padding=Padding(48, 2, nodes=48)) for row in sequences(3, 4))
    tuned = copy.deepcopy(model).requires_grad_(True)
    losses = [padded_reference(tuned, row) for row in rows]  # each the mean over 47 targets, as in a padded batch
    torch.stack(losses).mean().backward()
    hp = HyperParameters(epochs=1, batch_size=3, clip=0, schedule="constant", learning_rate=1e-3)
    result = full_finetune(model, rows, hp, plan=PLAN)
    assert result.losses == pytest.approx([float(torch.stack(losses).mean().detach())], abs=1e-5)
    optimizer = torch.optim.AdamW(tuned.parameters(), lr=1e-3, weight_decay=0.0)
    optimizer.step()
    assert result.weights is not None
    for name, weight in tuned.named_parameters():
        torch.testing.assert_close(result.weights[name], weight.detach(), atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lean_states_learn_as_well(dtype: torch.dtype) -> None:
    model = small_model("llama", dtype=dtype)
    hp = HyperParameters(learning_rate=1e-3, epochs=15, batch_size=4)
    rows = sequences(4, 1)
    exact, lean = (full_finetune(small_model("llama"), rows, hp, lean=False), full_finetune(model, rows, hp, lean=True))
    assert lean.status == "ok"
    assert lean.losses[-1] < 0.8 * lean.losses[0]
    assert lean.losses[-1] == pytest.approx(exact.losses[-1], rel=0.25)


def test_failures_and_running_out_of_memory() -> None:
    model = small_model("qwen2")
    before = {name: p.clone() for name, p in model.named_parameters()}
    rows = sequences(7, 0)
    diverged = full_finetune(model, rows, HyperParameters(learning_rate=1e30, clip=0, epochs=2), plan=PLAN)
    assert diverged.status == "failed"
    assert "diverged in step" in diverged.reason
    assert "no sequences" in full_finetune(model, (), HP, plan=PLAN).reason
    enough = full_finetune(model, rows, HP, plan=MemoryPlan(tokens=200))
    OutOfMemoryAbove(model, 50)
    small = full_finetune(model, rows, HP, plan=MemoryPlan(tokens=200))
    assert (small.status, small.reduced, enough.reduced) == ("ok", True, False)
    assert small.losses == pytest.approx(enough.losses, abs=1e-4)
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())


def test_two_processes_find_the_losses_of_one() -> None:
    """Five sequences in steps of four: the last step of an epoch has one, and leaves a process without a share."""
    model = small_model("qwen2")
    before = {name: p.clone() for name, p in model.named_parameters()}
    rows = sequences(5, 0)
    alone = full_finetune(model, rows, HP, plan=PLAN)
    both = full_finetune_together(model, rows, HP, ["cpu", "cpu"], plan=PLAN)
    assert (both.status, both.reason) == ("ok", "")
    assert both.losses == pytest.approx(alone.losses, abs=1e-5)
    assert (both.steps, both.tokens) == (alone.steps, alone.tokens)
    assert alone.weights is not None
    assert both.weights is not None
    assert alone.weights.keys() == both.weights.keys()
    for name, weight in alone.weights.items():
        torch.testing.assert_close(both.weights[name], weight, atol=1e-4, rtol=1e-4)
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())


@pytest.mark.slow
def test_a_lost_process_ends_the_group() -> None:
    lost = full_finetune_together(small_model("qwen2"), sequences(3, 0), HP, ["cpu", "meta"], plan=PLAN)
    assert lost.status == "error"
    assert "process 2 of 2 (meta) ended with 1, having said" in lost.reason
