"""The losses on the same batch as TRL's trainers: `pip install trl`, or the extra `dev`, or PYTHONPATH to it."""

from __future__ import annotations

import random
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness.engine import Dpo, Grpo, Rloo, TrainSequence

pytest.importorskip("trl", reason="trl is not installed (extra 'dev')")
pytestmark = pytest.mark.slow  # its import takes half a minute

LENGTHS, PROMPT, LONGEST = (3, 7, 1, 5, 7, 2), 2, 7


ALONE = SimpleNamespace(
    num_processes=1, gather=lambda x: x, gather_for_metrics=lambda x: x, reduce=lambda x, **k: x, sync_gradients=True,
    device="cpu",
)  # fmt: skip


def numbers(seed: int, spread: float = 0.5) -> list[list[float]]:
    rng = random.Random(seed)
    return [[-1.5 + rng.gauss(0, spread) for _ in range(n)] for n in LENGTHS]


NOW, DRAWN, START = numbers(1), numbers(2), numbers(3)
ADVANTAGES = [1.3, -0.7, 0.4, -2.0, 0.0, 0.9]


def padded(rows: list[list[float]]) -> torch.Tensor:
    return torch.tensor([[*row, *[0.0] * (LONGEST - len(row))] for row in rows])


def ours(loss: Any, rows: list[list[float]] = DRAWN) -> float:
    sequences = [
        TrainSequence(tuple(range(len(now) + 1)), meta={"advantage": a, "logprobs": q, "reference": s})
        for now, q, s, a in zip(NOW, rows, START, ADVANTAGES, strict=True)
    ]
    logprobs = [torch.tensor(now, requires_grad=True) for now in NOW]
    return float((loss(logprobs, sequences) / loss.total(sequences)).detach())


def theirs(trainer: Any, **more: Any) -> float:
    """The loss of one of TRL's trainers, made without a model: its log-probabilities are the given ones."""
    mask = padded([[1.0] * n for n in LENGTHS]).long()
    now = padded(NOW).requires_grad_()
    fake = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *a, **k: (now, torch.zeros_like(now), None),
        accelerator=ALONE,
        args=SimpleNamespace(delta=None, use_bias_correction_kl=False, steps_per_generation=1),
        _metrics={"train": defaultdict(list)}, model=SimpleNamespace(training=True), aux_loss_enabled=False,
        top_entropy_quantile=1.0, off_policy_mask_threshold=None, importance_sampling_level="token", beta=0.0,
        epsilon_low=0.2, epsilon_high=0.2, use_vllm=False, current_gradient_accumulation_steps=1,
        max_completion_length=LONGEST, _entropy_bonus_enabled=False, loss_type="dapo",
    )  # fmt: skip
    vars(fake).update(more)
    ids = torch.ones(len(LENGTHS), PROMPT, dtype=torch.long)
    inputs = {
        "prompt_ids": ids, "prompt_mask": ids, "completion_ids": torch.ones_like(mask), "completion_mask": mask,
        "advantages": torch.tensor(ADVANTAGES), "old_per_token_logps": padded(DRAWN), "old_logps": padded(DRAWN).sum(1),
        "ref_per_token_logps": padded(START), "num_items_in_batch": mask.sum(),
    }  # fmt: skip
    return float(trainer._compute_loss(fake, None, inputs).detach())


@pytest.mark.parametrize(
    ("average", "loss_type"), [("token", "dapo"), ("sequence", "grpo"), ("length-free", "dr_grpo")]
)
@pytest.mark.parametrize(("high", "beta"), [(0.2, 0.0), (0.28, 0.0), (0.2, 0.04)])
def test_grpo(average: Any, loss_type: str, high: float, beta: float) -> None:
    from trl import GRPOTrainer

    wanted = theirs(GRPOTrainer, loss_type=loss_type, epsilon_high=high, beta=beta)
    assert ours(Grpo(clip_high=high, kl=beta, average=average, length=LONGEST)) == pytest.approx(wanted, abs=1e-5)


def test_rloo() -> None:
    from trl.trainer.rloo_trainer import RLOOTrainer

    assert ours(Rloo(clip_high=0.28)) == pytest.approx(theirs(RLOOTrainer, epsilon_high=0.28), abs=1e-5)


def test_dpo() -> None:
    from trl.trainer.dpo_trainer import DPOTrainer

    half = len(LENGTHS) // 2
    fake = SimpleNamespace(
        model=SimpleNamespace(training=True), accelerator=ALONE, aux_loss_enabled=False, ld_alpha=None,
        precompute_ref_logps=True, f_divergence_type="reverse_kl", loss_types=["sigmoid"], loss_weights=[1.0], beta=0.3,
        label_smoothing=0.0, _metrics={"train": defaultdict(list)}, use_weighting=False,
        _total_train_tokens=0, _tp_size=1,
    )  # fmt: skip
    nothing = torch.zeros(len(LENGTHS), LONGEST)
    made = SimpleNamespace(log_probs=padded(NOW), entropy=nothing, mean_logits=nothing, is_top1=nothing.bool())
    mask = torch.ones(len(LENGTHS), LONGEST + 1)
    start = padded(START).sum(1)
    inputs = {
        "input_ids": mask.long(), "attention_mask": mask, "completion_mask": mask,
        "ref_chosen_logps": start[:half], "ref_rejected_logps": start[half:],
    }  # fmt: skip
    wanted = DPOTrainer._compute_loss(fake, lambda **_: made, inputs, False)
    sequences = [
        TrainSequence(tuple(range(n + 1)), group=f"{i % half}", meta={"chosen": i < half, "reference": s})
        for i, (n, s) in enumerate(zip(LENGTHS, START, strict=True))
    ]
    assert float(Dpo(beta=0.3)([torch.tensor(now) for now in NOW], sequences)) == pytest.approx(float(wanted), abs=1e-5)
