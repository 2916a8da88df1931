"""What holds an adapter back in a packed step equals the formulas job by job, and does what it is for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from harness.engine import Adapter, Engine, HyperParameters, MemoryPlan, Sft, TrainJob, TrainResult, TrainSequence

from .models import random_adapter, small_model
from .oracle import assert_same, train_alone
from .test_train import by_id, sequences

HP = HyperParameters(rank=4, alpha=8, targets="all-linear", epochs=3, learning_rate=2e-3, batch_size=2)


def trained(model: Any, jobs: list[TrainJob]) -> dict[str, TrainResult]:
    plan = MemoryPlan(slots=3, tokens=150, rows=8, cache_tokens=2000)
    return by_id(Engine(model, eos_token_ids=[2], pad_token_id=0, plan=plan).train(jobs))


def adapter(result: TrainResult) -> Adapter:
    assert result.status == "ok", result.reason
    assert result.adapter is not None
    return result.adapter


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_held_back_jobs_equal_the_formulas_one_by_one_and_leave_neighbours_alone(family: str) -> None:
    model = small_model(family)
    below, start = random_adapter(model, 77), random_adapter(model, 78)
    retained = sequences(5, 90)
    held = [
        TrainJob("ewc", sequences(4, 1), HP, 1, init=start, loss=Sft(ewc=0.5), retained=retained),
        TrainJob("ewc-new", sequences(3, 2), HP, 2, stack=(below,), loss=Sft(ewc=2.0), retained=retained[:2]),
        TrainJob("orthogonal", sequences(4, 3), HP, 3, stack=(below, start), loss=Sft(orthogonal=0.01)),
        TrainJob("null", sequences(4, 4), HP, 4, stack=(below,), loss=Sft(null_space=0.9), retained=retained),
        TrainJob(
            "all", sequences(3, 5), replace(HP, rank=2, clip=0.1), 5, (below,),
            loss=Sft(ewc=1.0, orthogonal=0.003, null_space=0.5), retained=retained,
        ),
        TrainJob("nothing-kept", sequences(3, 6), HP, 6, loss=Sft(ewc=1.0, orthogonal=1.0, null_space=0.9)),
    ]  # fmt: skip
    plain = [TrainJob(f"plain{i}", sequences(3, 20 + i), HP, i) for i in range(3)]
    found = trained(model, [*held, *plain])
    for job in [*held, *plain]:
        assert_same(adapter(found[job.id]), train_alone(model, job))
    free = replace(held[-1], loss="sft", retained=())
    assert_same(adapter(found["nothing-kept"]), train_alone(model, free))
    assert all(len(found[job.id].losses) == found[job.id].steps for job in held)


def test_the_penalty_is_part_of_the_loss_that_is_reported() -> None:
    model = small_model("llama")
    stack = (random_adapter(model, 1),)
    free, held = (
        trained(model, [TrainJob("job", sequences(2, 3), HP, 3, stack=stack, loss=Sft(orthogonal=weight))])["job"]
        for weight in (0.0, 0.1)
    )
    assert held.losses[0] > free.losses[0] + 0.1


def test_a_strong_penalty_keeps_the_weights_where_they_matter() -> None:
    model = small_model("llama")
    start = random_adapter(model, 78)
    jobs = [
        TrainJob(str(weight), sequences(4, 1), HP, 1, init=start, loss=Sft(ewc=weight), retained=sequences(5, 90))
        for weight in (0.0, 1.0, 100.0)
    ]
    found = trained(model, jobs)
    moved = [
        sum(float((b - start.weights[name][1]).abs().sum()) for name, (_, b) in adapter(found[job.id]).weights.items())
        for job in jobs
    ]
    assert moved[0] > moved[1] > moved[2] > 0


def test_what_was_read_before_reads_the_same_after_an_update_in_the_null_space() -> None:
    """With all the energy of one text's inputs kept, an update cannot change what the model says of that text."""
    model = small_model("llama")
    text = TrainSequence((5, 6, 7, 8, 9, 10))
    job = TrainJob("job", sequences(4, 1), replace(HP, learning_rate=2e-2), 1, retained=(text,))
    free, held = (
        adapter(trained(model, [replace(job, loss=Sft(null_space=share))])["job"]) for share in (0.0, 1 - 1e-9)
    )
    engine = Engine(model, eos_token_ids=[2], pad_token_id=0)
    before, changed, same = engine.logprobs([(text.ids[:1], text.ids[1:], s) for s in ((), (free,), (held,))])
    learnt = job.sequences[0].ids
    was, now = engine.logprobs([(learnt[:1], learnt[1:], stack) for stack in ((), (held,))])
    assert same == pytest.approx(before, abs=1e-3)
    assert changed != pytest.approx(before, abs=1e-1)
    assert sum(now) > sum(was) + 1, "and yet it learns"


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"loss": Sft(ewc=-1.0)}, "ewc and orthogonal must be >= 0"),
        ({"loss": Sft(null_space=1.5)}, "null_space in"),
        ({"loss": Sft(orthogonal=1.0), "init": True}, "hold back a new adapter"),
        ({"loss": Sft(null_space=0.5), "init": True}, "hold back a new adapter"),
        ({"loss": Sft(ewc=1.0), "retained": (TrainSequence((5, 999)),)}, "retained: sequence 0 has a token id"),
    ],
)
def test_what_cannot_be_held_back_fails_alone(more: dict[str, Any], reason: str) -> None:
    model = small_model("llama")
    if more.get("init"):
        more = {**more, "init": random_adapter(model, 1)}
    jobs = [TrainJob("bad", sequences(2, 1), HP, **more), TrainJob("good", sequences(2, 1), HP)]
    found = trained(model, jobs)
    assert (found["bad"].status, found["good"].status) == ("failed", "ok")
    assert reason in found["bad"].reason


def test_an_adapter_held_back_is_the_same_in_a_small_memory() -> None:
    model = small_model("llama")
    job = TrainJob(
        "job", sequences(4, 1), HP, 1, (random_adapter(model, 2),), None, Sft(ewc=1.0, null_space=0.8), sequences(5, 9)
    )
    small = MemoryPlan(slots=1, tokens=20, rows=2, cache_tokens=500)
    one = by_id(Engine(model, eos_token_ids=[2], pad_token_id=0, plan=small).train([job]))["job"]
    assert_same(adapter(one), adapter(trained(model, [job])["job"]))
    assert torch.isfinite(torch.tensor(one.losses)).all()
