"""Packed training equals training each adapter alone with peft, whatever shares the batch."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harness.engine import (
    Engine,
    GenerationRow,
    HyperParameters,
    MemoryPlan,
    Padding,
    TrainJob,
    TrainResult,
    TrainSequence,
    epoch_order,
)  # fmt: skip
from harness.engine import forward as forward_module

from .models import VOCAB, merged, random_adapter, small_model
from .oracle import assert_same, train_alone

PLAN = MemoryPlan(slots=3, tokens=150, rows=8, cache_tokens=2000)


def engine_for(model: Any, plan: MemoryPlan = PLAN) -> Engine:
    return Engine(model, eos_token_ids=[2], pad_token_id=0, plan=plan)


def sequences(count: int, seed: int) -> tuple[TrainSequence, ...]:
    """Random sequences with lengths as bimodal as real self-edits; some have a masked prompt or uneven weights."""
    rng = random.Random(seed)
    out = []
    for i in range(count):
        ids = tuple(rng.randrange(3, VOCAB) for _ in range(rng.choice([4, 7, 10, 12, 45])))
        weights = None if i % 3 else tuple(float(t >= 2) * (1 + t % 2) for t in range(len(ids)))
        out.append(TrainSequence(ids, weights))
    return tuple(out)


def by_id(results: Any) -> dict[str, TrainResult]:
    return {result.id: result for result in results}


def mixed_jobs(model: Any, one_linear: str) -> list[TrainJob]:
    """Jobs that differ in every respect."""
    below, start = random_adapter(model, 77), random_adapter(model, 78, rank=4, alpha=8.0)
    settings = [
        HyperParameters(rank=4, alpha=8, targets="all-linear", epochs=2, learning_rate=1e-3),
        HyperParameters(
            rank=8, alpha=16, targets=(one_linear,), epochs=3, learning_rate=5e-3, batch_size=2, weight_decay=0.1
        ),
        HyperParameters(
            rank=2, alpha=8, targets="all-linear", epochs=2, learning_rate=2e-3, batch_size=3, grad_accumulation=2,
            clip=0.1, schedule="cosine", warmup_steps=2,
        ),
        HyperParameters(
            rank=4, alpha=4, targets=(one_linear,), epochs=4, schedule="constant", clip=0, betas=(0.8, 0.99)
        ),
    ]  # fmt: skip
    jobs = [
        TrainJob(f"job{i}", sequences(3 + i, i), settings[i % 4], seed=i, stack=(below,) if i in (2, 5) else ())
        for i in range(6)
    ]
    return [*jobs, TrainJob("continued", sequences(4, 9), settings[0], seed=9, init=start)]


@pytest.mark.parametrize(
    ("family", "linear"),
    [
        ("qwen2", "v_proj"),
        ("llama", "down_proj"),
        ("gpt_neox", "query_key_value"),
        ("qwen3", "q_proj"),
        ("mistral", "gate_proj"),
        ("phi", "dense"),
    ],
)
def test_mixed_jobs_equal_sequential_peft(family: str, linear: str, products: str, device: torch.device) -> None:
    model = small_model(family).to(device)
    before = {name: p.clone() for name, p in model.named_parameters()}
    jobs = mixed_jobs(model, linear)
    # Rate 1e30 overflows in its first step; the neighbours share all of its forwards.
    diverging = HyperParameters(rank=4, targets="all-linear", learning_rate=1e30, clip=0)
    results = by_id(engine_for(model).train([*jobs, TrainJob("diverging", sequences(9, 1), diverging)]))
    assert results["diverging"].status == "failed"
    assert "diverged in step" in results["diverging"].reason
    prompt = jobs[0].sequences[0].ids[:3]
    for job in jobs:
        result, alone = results[job.id], train_alone(model, job)
        assert result.status == "ok"
        assert result.adapter is not None
        assert_same(result.adapter, alone)
        assert result.steps == len(result.losses)
        rows = [GenerationRow(prompt, (*job.stack, adapter), max_tokens=12) for adapter in (result.adapter, alone)]
        together, one_by_one = engine_for(model).generate(rows)
        assert together == one_by_one
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())


def test_neighbours_of_a_rate_of_a_million_are_untouched(device: torch.device) -> None:
    model = small_model("llama").to(device)
    hp = HyperParameters(rank=4, targets="all-linear", epochs=3)
    good = [TrainJob(f"good{i}", sequences(4, i), hp, seed=i) for i in range(2)]
    wild = HyperParameters(rank=4, targets="all-linear", epochs=3, learning_rate=1e6, clip=0)
    with_it = by_id(engine_for(model).train([*good, TrainJob("wild", sequences(4, 5), wild)]))
    without = by_id(engine_for(model).train(good))
    for job in good:
        one, other = with_it[job.id].adapter, without[job.id].adapter
        assert one is not None
        assert other is not None
        assert_same(one, other, a=1e-5, b=1e-5)
        assert with_it[job.id].losses == pytest.approx(without[job.id].losses, abs=1e-5)


@st.composite
def job_mixes(draw: st.DrawFn) -> tuple[list[TrainJob], MemoryPlan]:
    jobs = []
    for i in range(draw(st.integers(1, 6))):
        hp = HyperParameters(
            rank=draw(st.sampled_from([1, 3, 8])), alpha=draw(st.sampled_from([4.0, 16.0])),
            targets=draw(st.sampled_from([None, "all-linear", ("o_proj",), ("up_proj", "k_proj")])),
            learning_rate=draw(st.sampled_from([1e-4, 2e-3])), epochs=draw(st.integers(1, 3)),
            batch_size=draw(st.integers(1, 3)), grad_accumulation=draw(st.integers(1, 2)),
            weight_decay=draw(st.sampled_from([0.0, 0.1])), clip=draw(st.sampled_from([0.0, 0.05, 1.0])),
            schedule=draw(st.sampled_from(["linear", "cosine", "constant"])), warmup_steps=draw(st.integers(0, 3)),
        )  # fmt: skip
        jobs.append(TrainJob(f"job{i}", sequences(draw(st.integers(1, 6)), draw(st.integers(0, 50))), hp, seed=i))
    return jobs, MemoryPlan(slots=draw(st.integers(1, 4)), tokens=draw(st.sampled_from([20, 80, 400])))


@settings(max_examples=25, deadline=None)
@given(job_mixes())
def test_any_mix_equals_sequential_peft(mix: tuple[list[TrainJob], MemoryPlan]) -> None:
    jobs, plan = mix
    model = small_model("qwen2")
    results = by_id(engine_for(model, plan).train(jobs))
    assert set(results) == {job.id for job in jobs}
    for job in jobs:
        adapter = results[job.id].adapter
        assert adapter is not None
        assert_same(adapter, train_alone(model, job))


@pytest.mark.parametrize("kernel", ["grouped", "loop"])
def test_every_kernel_gives_the_same(kernel: str, device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forward_module, "choose_kernel", lambda device, counts, grad: kernel)
    model = small_model("llama").to(device)
    jobs = mixed_jobs(model, "v_proj")
    results = by_id(engine_for(model).train(jobs))
    for job in jobs:
        adapter = results[job.id].adapter
        assert adapter is not None
        assert_same(adapter, train_alone(model, job))
    rows = [GenerationRow((5, 6, 7), job.stack, max_tokens=6) for job in jobs]
    expected = engine_for(model).generate([GenerationRow((5, 6, 7), (), max_tokens=6)])
    got = engine_for(model).generate(rows)
    assert got[0] == expected[0]
    assert got[2] == engine_for(merged(model, *jobs[2].stack)).generate([GenerationRow((5, 6, 7), max_tokens=6)])[0]


def test_order_and_slots_do_not_matter() -> None:
    model = small_model("qwen2")
    jobs = mixed_jobs(model, "q_proj")
    one = by_id(engine_for(model).train(jobs))
    other = by_id(engine_for(model, MemoryPlan(slots=7, tokens=60)).train(reversed(jobs)))
    same = by_id(engine_for(model).train(reversed(jobs)))
    for job in jobs:
        first, second, again = one[job.id].adapter, other[job.id].adapter, same[job.id].adapter
        assert first is not None
        assert second is not None
        assert_same(first, second)
        assert first == again  # the very same batches: bit-identical


def test_bad_jobs_fail_alone_and_say_why() -> None:
    model = small_model("qwen2")
    fine = sequences(2, 0)
    hp = HyperParameters(rank=2, epochs=1)
    bad = {
        "rank": (TrainJob("rank", fine, HyperParameters(rank=0)), "rank must be in 1..1024, got 0"),
        "rate": (TrainJob("rate", fine, HyperParameters(learning_rate=float("nan"))), "learning_rate must be positive"),
        "targets": (TrainJob("targets", fine, HyperParameters(targets=("nope",))), "matches no linear module"),
        "empty": (TrainJob("empty", (), hp), "nothing to train on"),
        "masked": (TrainJob("masked", (TrainSequence((5, 6), (0.0, 0.0)),), hp), "no target has a loss weight"),
        "token": (TrainJob("token", (TrainSequence((5, VOCAB)),), hp), "outside the vocabulary"),
        "loss": (TrainJob("loss", fine, hp, loss="ppo"), "unknown loss 'ppo'; use one of sft, dpo, grpo, rloo"),
        "init": (TrainJob("init", fine, hp, init=random_adapter(model, 1)), "does not have the job's rank 2"),
        "shape": (TrainJob("shape", fine, hp, loss=lambda lp, s: lp[0]), "instead of a scalar"),
        "raises": (TrainJob("raises", fine, hp, loss=lambda lp, s: s[0].meta["gone"]), "KeyError"),
    }
    results = by_id(engine_for(model).train([TrainJob("good", fine, hp), *(job for job, _ in bad.values())]))
    assert results["good"].status == "ok"
    for name, (_, reason) in bad.items():
        assert results[name].status == "failed", name
        assert reason in results[name].reason
        assert results[name].adapter is None


def test_exported_adapter_answers_the_same_in_peft(tmp_path: Path) -> None:
    model = small_model("qwen2")
    hp = HyperParameters(rank=4, targets="all-linear", epochs=5, learning_rate=5e-3)
    [result] = engine_for(model).train([TrainJob("job", sequences(4, 1), hp)])
    assert result.adapter is not None
    result.adapter.save(tmp_path)
    tuned: Any = peft.PeftModel.from_pretrained(small_model("qwen2"), str(tmp_path))
    ids = torch.tensor([[5, 6, 7]])
    out = tuned.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=10, do_sample=False, eos_token_id=2
    )
    [mine] = engine_for(model).generate([GenerationRow((5, 6, 7), (result.adapter,), max_tokens=10)])
    assert out[0, 3:].tolist()[: len(mine.ids)] == list(mine.ids)


def test_bfloat16_model_trains_fp32_masters(device: torch.device) -> None:
    exact, rounded = small_model("qwen2").to(device), small_model("qwen2", dtype=torch.bfloat16).to(device)
    hp = HyperParameters(rank=8, targets="all-linear", epochs=8, learning_rate=5e-3)
    jobs = [TrainJob(f"job{i}", sequences(3, i), hp, seed=i) for i in range(3)]
    for one, other in zip(engine_for(exact).train(jobs), engine_for(rounded).train(jobs), strict=True):
        assert other.adapter is not None
        assert min(other.losses[-3:]) < 0.7 * other.losses[0]
        assert other.losses[:6] == pytest.approx(one.losses[:6], rel=0.1)  # later, rounding has drifted apart


class OutOfMemoryAbove:
    """Makes a model's forward pass run out of memory above a number of tokens."""

    def __init__(self, model: Any, limit: int) -> None:
        self.forward, self.limit, self.largest = model.forward, limit, 0
        model.forward = self

    def __call__(self, input_ids: Tensor, **options: Any) -> Any:
        self.largest = max(self.largest, input_ids.shape[1])
        if input_ids.shape[1] > self.limit:
            raise torch.OutOfMemoryError("simulated")
        return self.forward(input_ids=input_ids, **options)


def test_out_of_memory_shrinks_the_batch_and_marks_the_rows() -> None:
    model = small_model("qwen2")
    jobs = mixed_jobs(model, "v_proj")
    enough = by_id(engine_for(model).train(jobs))
    OutOfMemoryAbove(model, 60)
    long = TrainJob("long", (TrainSequence(tuple(range(3, 73))),), HyperParameters(rank=2, epochs=1))
    results = by_id(engine_for(model).train([*jobs, long]))
    assert results["long"].status == "error"
    assert "out of memory with 70 tokens" in results["long"].reason
    for job in jobs:
        one, other = results[job.id], enough[job.id]
        assert one.status == "ok"
        assert one.adapter is not None
        assert other.adapter is not None
        assert_same(one.adapter, other.adapter)
        assert not other.reduced
    assert any(results[job.id].reduced for job in jobs)


def test_generation_survives_running_out_of_memory() -> None:
    model = small_model("qwen2")
    rows = [GenerationRow((5 + i, 6, 7) * 4, max_tokens=4) for i in range(6)]
    expected = engine_for(model).generate(rows)
    OutOfMemoryAbove(model, 30)
    engine = engine_for(model)
    got = engine.generate(rows)
    assert [g.ids for g in got] == [g.ids for g in expected]
    assert all(g.reduced for g in got)
    assert len(engine.logprobs([((5,), (6, 7) * 10, ()) for _ in range(4)])) == 4


def padded_reference(model: Any, sequence: TrainSequence) -> Any:
    """The loss of one step of the published inner loop: truly padded input, padding in the labels."""
    padding = sequence.padding
    assert padding is not None
    extra = padding.to - len(sequence.ids)
    ids = torch.tensor([[*sequence.ids, *[padding.token] * extra]])
    mask = torch.tensor([[1] * len(sequence.ids) + [0] * extra])
    logits = model(input_ids=ids, attention_mask=mask).logits[0, :-1].float()
    return torch.nn.functional.cross_entropy(logits, ids[0, 1:])


def test_padding_with_all_positions_equals_the_padded_run() -> None:
    model = small_model("qwen2")
    adapter = random_adapter(model, 5)
    ids = sequences(1, 3)[0].ids
    hp = HyperParameters(rank=4, alpha=8.0, targets="all-linear", epochs=1, schedule="constant", clip=0)
    every = TrainJob("every", (TrainSequence(ids, padding=Padding(64, 2, nodes=64)),), hp, init=adapter)
    with torch.no_grad():
        truth = float(padded_reference(merged(model, adapter), every.sequences[0]))
    [result] = engine_for(model).train([every])
    assert result.losses[0] == pytest.approx(truth, abs=1e-5)
    # A few stratified positions estimate the same mean without bias.
    folded = [
        TrainJob(f"{seed}", (TrainSequence(ids, padding=Padding(64, 2, nodes=6)),), hp, seed=seed, init=adapter)
        for seed in range(200)
    ]
    estimates = torch.tensor([r.losses[0] for r in engine_for(model).train(folded)])
    assert abs(float(estimates.mean()) - truth) <= 4 * float(estimates.std()) / 200**0.5 + 1e-5
    assert result.tokens == 64 - 1


def preference_job(loss: Any, name: str, **meta: Any) -> TrainJob:
    rng = random.Random(name)
    rows = []
    for pair in range(3):
        prompt = tuple(rng.randrange(3, VOCAB) for _ in range(4))
        for chosen in (True, False):
            answer = tuple(rng.randrange(3, VOCAB) for _ in range(rng.randint(2, 6)))
            weights = tuple([0.0] * len(prompt) + [1.0] * len(answer))
            facts = {"chosen": chosen, "advantage": 1.0 if chosen else -0.5, **meta}
            rows.append(TrainSequence(prompt + answer, weights, group=f"pair{pair}", meta=facts))
    hp = HyperParameters(rank=4, targets="all-linear", epochs=3, batch_size=2, learning_rate=2e-3)
    return TrainJob(name, tuple(rows), hp, seed=3, loss=loss)


def plugin_loss(logprobs: Sequence[Tensor], rows: Sequence[TrainSequence]) -> Tensor:
    return torch.stack(
        [(lp.mean() - float(row.meta["advantage"])) ** 2 for lp, row in zip(logprobs, rows, strict=True)]
    ).sum()


def test_other_losses_come_in_by_the_same_door() -> None:
    from harness.engine import Grpo

    model = small_model("qwen2")
    jobs = [
        preference_job("dpo", "dpo"), preference_job("grpo", "grpo"), preference_job(Grpo(kl=0.1), "grpo with kl"),
        preference_job(plugin_loss, "plugin"), TrainJob("sft", sequences(4, 0), HyperParameters(rank=4, epochs=2)),
    ]  # fmt: skip
    results = by_id(engine_for(model, MemoryPlan(slots=4, tokens=400)).train(jobs))
    for job in jobs:
        result = results[job.id]
        assert result.adapter is not None, result.reason
        assert_same(result.adapter, train_alone(model, job))
    assert results["dpo"].losses[0] == pytest.approx(0.6931, abs=1e-3)  # no preference at the start: ln 2
    assert results["dpo"].losses[-1] < results["dpo"].losses[0]


def test_epoch_order_is_fixed() -> None:
    assert epoch_order(6, 0, 1) == [4, 0, 3, 2, 5, 1]
    assert epoch_order(6, 0, 1) != epoch_order(6, 1, 1)
