"""An adapter that is trained further, with or without its optimiser's state; and a stack folded into one."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.engine import Adapter, HyperParameters, ScoreRow, TrainJob, TrainResult, fold

from .models import random_adapter, small_model
from .test_train import by_id, engine_for, sequences

CONSTANT = HyperParameters(
    rank=4, alpha=8, targets="all-linear", learning_rate=5e-3, epochs=3, schedule="constant", keep_optimizer=True
)


def trained(engine: Any, *jobs: TrainJob) -> list[Adapter]:
    done = by_id(engine.train(jobs))
    adapters = [done[job.id].adapter for job in jobs]
    assert all(done[job.id].status == "ok" for job in jobs), done
    return [adapter for adapter in adapters if adapter is not None]


def failure(engine: Any, job: TrainJob) -> TrainResult:
    [result] = engine.train([job])
    assert result.status == "failed"
    return result


def same_bits(one: Adapter, two: Adapter) -> bool:
    return all(
        torch.equal(x, y) for name in one.weights for x, y in zip(one.weights[name], two.weights[name], strict=True)
    )


# --- continuing ----------------------------------------------------------------------------------------------------


def test_n_steps_and_n_more_with_the_state_kept_are_2n_steps_bit_for_bit() -> None:
    """At a constant rate and with the same order of the data (here one sequence); weight decay included."""
    engine = engine_for(small_model("llama"))
    hp = dataclasses.replace(CONSTANT, weight_decay=0.1, clip=0.5)
    [one] = [s for s in sequences(3, 1) if s.weights is None][:1]
    [whole] = trained(engine, TrainJob("2n", (one,), dataclasses.replace(hp, epochs=6), seed=3))
    [half] = trained(engine, TrainJob("n", (one,), hp, seed=3))
    [rest] = trained(engine, TrainJob("n", (one,), hp, seed=4, init=half))
    assert same_bits(rest, whole)
    assert rest.digest() == whole.digest(), "the moments and the step count too"
    assert rest.optimizer is not None
    assert rest.optimizer.step == 6
    without = dataclasses.replace(hp, keep_optimizer=False)
    [afresh] = trained(engine, TrainJob("n", (one,), without, seed=4, init=half))
    assert not same_bits(afresh, whole), "with fresh moments the steps are others"


def test_jobs_that_share_a_batch_keep_their_own_states() -> None:
    """Ranks, modules and step counts differ; together each is what it is alone, up to rounding."""
    model = small_model("qwen2")
    engine = engine_for(model)
    settings_of = [
        dataclasses.replace(CONSTANT, rank=rank, targets=targets, epochs=epochs, batch_size=4)
        for rank, targets, epochs in [(2, "all-linear", 2), (4, ("q_proj",), 3), (8, ("down_proj", "v_proj"), 1)]
    ]
    data = [sequences(4, seed) for seed in range(3)]
    first = [TrainJob(f"job{i}", data[i], settings_of[i], seed=i) for i in range(3)]
    halves = trained(engine, *first)
    together = trained(engine, *(dataclasses.replace(j, init=h) for j, h in zip(first, halves, strict=True)))
    for job, half, got in zip(first, halves, together, strict=True):
        [alone] = trained(engine, dataclasses.replace(job, init=half))
        for name in alone.weights:
            for x, y in zip(alone.weights[name], got.weights[name], strict=True):
                assert torch.allclose(x, y, atol=1e-4), name
        assert got.optimizer is not None
        assert half.optimizer is not None
        assert got.optimizer.step == 2 * half.optimizer.step


def test_a_kept_state_is_stored_with_the_adapter_and_covered_by_its_digest(tmp_path: Path) -> None:
    model = small_model("llama")
    engine = engine_for(model)
    job = TrainJob("job", sequences(2, 0), CONSTANT, seed=1)
    [kept] = trained(engine, job)
    [plain] = trained(engine, dataclasses.replace(job, hp=dataclasses.replace(CONSTANT, keep_optimizer=False)))
    assert same_bits(kept, plain)
    assert kept.digest() != plain.digest()
    kept.save(tmp_path / "kept")
    plain.save(tmp_path / "plain")
    assert Adapter.load(tmp_path / "kept") == kept
    assert Adapter.load(tmp_path / "plain") == plain
    assert Adapter.load(tmp_path / "plain").optimizer is None
    assert not (tmp_path / "plain" / "optimizer.safetensors").exists()
    peft.PeftModel.from_pretrained(small_model("llama"), tmp_path / "kept")

    path = tmp_path / "kept" / "optimizer.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert Adapter.load(tmp_path / "kept").digest() != kept.digest(), "a flipped bit of a moment is seen"


def test_what_cannot_be_continued_says_why() -> None:
    model = small_model("llama")
    engine = engine_for(model)
    bare = random_adapter(model, 1, rank=4, alpha=8.0)
    job = TrainJob("job", sequences(2, 0), CONSTANT, init=bare)
    assert "was stored without its optimiser state" in failure(engine, job).reason
    other = dataclasses.replace(job, hp=dataclasses.replace(CONSTANT, rank=8, keep_optimizer=False))
    assert "(rank 4, alpha 8, down_proj" in failure(engine, other).reason
    assert "does not have the job's rank 8" in failure(engine, other).reason


# --- folding -------------------------------------------------------------------------------------------------------


def product(adapter: Adapter, name: str) -> torch.Tensor:
    a, b = (tensor.double() for tensor in adapter.weights[name])
    return adapter.scale * (b @ a)


@settings(max_examples=15, deadline=None)
@given(
    parts=st.lists(
        st.tuples(
            st.integers(1, 24),
            st.sampled_from([1.0, 8.0, 24.0]),
            st.sampled_from(["all-linear", ("q_proj",), ("q_proj", "down_proj")]),
            st.integers(0, 3),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_a_folded_stack_is_the_same_function(parts: list[tuple[int, float, Any, int]]) -> None:
    """Weights to fp32 rounding, log-probabilities to 1e-3; equal members count once for the rank."""
    model = small_model("llama")
    stack = [random_adapter(model, seed, rank=rank, alpha=alpha, targets=on) for rank, alpha, on, seed in parts]
    one = fold(stack)
    for name in {name for adapter in stack for name in adapter.weights}:
        wanted = sum((product(a, name) for a in stack if name in a.weights), torch.zeros(()))
        assert isinstance(wanted, torch.Tensor)
        assert torch.allclose(product(one, name), wanted, atol=2e-6 * float(wanted.abs().max()) + 1e-7), name
    assert one.rank <= sum(adapter.rank for adapter in stack)
    assert one.rank <= max(min(a.shape[1], b.shape[0]) for a, b in one.weights.values()) or len(stack) == 1
    rows = [ScoreRow((5, 6, 7), tuple(range(8, 20)), adapters) for adapters in (tuple(stack), (one,))]
    apart, together = engine_for(model).logprobs(rows)
    assert together == pytest.approx(apart, abs=1e-3)


def test_a_fold_is_no_wider_than_what_it_computes() -> None:
    model = small_model("llama")
    one, two = (random_adapter(model, seed, rank=3, targets=("q_proj", "v_proj")) for seed in (1, 2))
    assert fold([one]) is one
    assert fold([one, two]).rank == 6
    assert fold([one, one]).rank == 3
    assert fold([one, two, one]).rank == 6
    grown = one
    for _ in range(5):
        grown = fold([grown, one, two])
    assert grown.rank == 6, "rounding does not count as rank"
    zero = dataclasses.replace(one, weights={n: (a, torch.zeros_like(b)) for n, (a, b) in one.weights.items()})
    assert fold([zero, zero]).rank == 1
    with pytest.raises(ValueError, match="nothing to fold"):
        fold([])
