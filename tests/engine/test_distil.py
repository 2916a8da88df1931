"""Learning a teacher's distributions: the divergence is what it says, and packing changes nothing about it."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.engine import (
    Adapter,
    Distribution,
    Engine,
    HyperParameters,
    MemoryPlan,
    ScoreRow,
    TrainJob,
    TrainResult,
    TrainSequence,
    divergence,
)

from .models import VOCAB, random_adapter, small_model
from .oracle import assert_same

HP = HyperParameters(rank=4, alpha=8, targets="all-linear", epochs=5, learning_rate=1e-2, batch_size=2)


@pytest.fixture(scope="module")
def model() -> Any:
    return small_model("llama")


def engine(model: Any, tokens: int = 400) -> Engine:
    return Engine(model, eos_token_ids=[2], pad_token_id=0, plan=MemoryPlan(3, tokens, 8, 2000))


def texts(count: int, seed: int) -> list[tuple[int, ...]]:
    rng = random.Random(seed)
    return [tuple(rng.randrange(3, VOCAB) for _ in range(rng.choice([5, 9, 14]))) for _ in range(count)]


def taught(model: Any, count: int, seed: int, teacher: tuple[Adapter, ...] = (), top: int = 8) -> list[TrainSequence]:
    """Sequences whose first two tokens are a prompt, with the distributions of a teacher that reads the same."""
    ids = texts(count, seed)
    said = engine(model).distributions([ScoreRow(one[:2], one[2:], teacher) for one in ids], top=top)
    return [
        TrainSequence(one, (0.0, 0.0, *[1.0] * (len(one) - 2)), meta={"teacher": told})
        for one, told in zip(ids, said, strict=True)
    ]


def train(model: Any, *jobs: TrainJob, tokens: int = 400) -> dict[str, TrainResult]:
    return {one.id: one for one in engine(model, tokens).train(jobs)}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 12), st.floats(0.1, 6.0))
def test_the_divergence_is_that_of_the_named_tokens_and_the_rest_as_one(seed: int, top: int, width: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    teacher, student = (torch.randn(5, 12, generator=generator) * width for _ in range(2))
    said = teacher.log_softmax(-1).topk(top)
    found = divergence(student, Distribution(said.indices, said.values))
    p, q = teacher.softmax(-1), student.softmax(-1)
    exact = (p * (p.log() - q.log())).sum(-1)
    rest = torch.ones(5, 12, dtype=torch.bool).scatter(1, said.indices, False)
    coarse = (p * (p.log() - q.log())).masked_fill(rest, 0).sum(-1)
    left, own = (p * rest).sum(-1), (q * rest).sum(-1)
    if top < 12:
        coarse = coarse + left * (left.clamp(min=1e-12).log() - own.clamp(min=1e-6).log())
    assert torch.allclose(found, coarse, atol=1e-3, rtol=1e-3)
    assert (found <= exact + 1e-3).all()
    assert (found >= -1e-3).all()
    if top == 12:
        assert torch.allclose(found, exact, atol=1e-4, rtol=1e-4)


def test_a_students_own_distribution_teaches_it_nothing(model: Any) -> None:
    below = random_adapter(model, 3)
    job = TrainJob("own", tuple(taught(model, 4, 1, (below,))), HP, stack=(below,))
    [result] = engine(model).train([job])
    assert result.losses[0] == pytest.approx(0, abs=1e-5)
    assert result.adapter is not None
    moved = engine(model).distributions([ScoreRow((5, 6), (7, 8, 9), (below, result.adapter))], top=VOCAB)[0]
    still = engine(model).distributions([ScoreRow((5, 6), (7, 8, 9), (below,))], top=VOCAB)[0]
    assert float((moved.logprobs.exp() - still.logprobs.exp()).abs().max()) < 0.05


def test_a_job_learns_its_teacher_alone_as_in_company(model: Any) -> None:
    """Packed beside jobs that learn tokens, and split over forwards, a job comes out as by itself."""
    teacher = random_adapter(model, 11)
    mixed = (*taught(model, 3, 5, (teacher,)), TrainSequence(texts(1, 9)[0]))
    jobs = [
        TrainJob("taught", tuple(taught(model, 6, 2, (teacher,))), HP, seed=1),
        TrainJob("deep", tuple(taught(model, 3, 3, (teacher,), top=VOCAB)), HP, seed=2),
        TrainJob("mixed", mixed, HP, seed=3),
        TrainJob("tokens", tuple(map(TrainSequence, texts(5, 4))), HP, seed=4),
    ]
    together = train(model, *jobs, tokens=60)
    losses = together["taught"].losses
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])
    for job in jobs:
        alone, one = train(model, job)[job.id], together[job.id]
        assert one.status == "ok", one.reason
        assert one.losses == pytest.approx(alone.losses, abs=1e-4)
        assert one.adapter is not None
        assert alone.adapter is not None
        assert_same(one.adapter, alone.adapter)


def test_the_loss_is_the_mean_divergence_and_its_gradient_that_of_soft_targets(model: Any) -> None:
    """One step at a rate of nearly nothing reports the start's loss; a target's mean is over tokens, not sequences."""
    teacher = random_adapter(model, 21)
    found = taught(model, 2, 8, (teacher,), top=VOCAB)
    still = HyperParameters(rank=2, targets="all-linear", epochs=1, learning_rate=1e-12, batch_size=2)
    loss = train(model, TrainJob("one", tuple(found), still))["one"].losses[0]
    each = []
    for one in found:
        with torch.no_grad():
            logits = model(torch.tensor([one.ids])).logits[0, 1:-1].float().log_softmax(-1)
        told: Distribution = one.meta["teacher"]
        p = torch.zeros_like(logits).scatter(1, told.ids, told.logprobs.exp())
        each.append(F.kl_div(logits, p, reduction="none").sum(-1))
    assert loss == pytest.approx(float(torch.cat(each).mean()), rel=1e-4)


@pytest.mark.parametrize(
    ("teacher", "loss", "said"),
    [
        (Distribution(torch.zeros(1, 4, dtype=torch.long), torch.zeros(1, 4)), "sft", "has 3 targets"),
        (Distribution(torch.zeros(3, 4, dtype=torch.long), torch.zeros(3, 2)), "sft", "shapes"),
        ("wise", "sft", "a Distribution, not a str"),
        (Distribution(torch.zeros(3, 4, dtype=torch.long), torch.zeros(3, 4)), "grpo", "only the loss 'sft'"),
    ],
)
def test_a_teacher_that_does_not_fit_fails_its_job_alone(model: Any, teacher: Any, loss: str, said: str) -> None:
    bad = TrainJob("bad", (TrainSequence((3, 4, 5, 6), meta={"teacher": teacher}),), HP, loss=loss)
    good = TrainJob("good", (TrainSequence((3, 4, 5, 6)),), HP)
    results = train(model, bad, good)
    assert results["good"].status == "ok"
    assert results["bad"].status == "failed"
    assert said in results["bad"].reason
