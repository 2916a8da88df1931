"""The losses against their formulas written out with plain numbers, and on the model against what they promise."""

from __future__ import annotations

import dataclasses
import math
import random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harness.engine import Dpo, Engine, GenerationRow, Grpo, HyperParameters, MemoryPlan, Rloo, TrainJob, TrainSequence
from harness.engine.losses import resolve_loss
from harness.models.encode import engine_loss
from harness.models.loss_settings import DpoSettings, GrpoSettings, RlooSettings, plain

from .models import small_model
from .oracle import assert_same, train_alone

Rows = list[tuple[list[float], list[float], list[float], float]]
"""For each rollout the log-probabilities of its tokens in training, when drawn and under the start; its advantage."""


@st.composite
def rollouts(draw: st.DrawFn) -> Rows:
    logprob = st.floats(-6, -0.01)
    out = []
    for _ in range(draw(st.integers(1, 4))):
        n = draw(st.integers(1, 5))
        now, drawn, start = (draw(st.lists(logprob, min_size=n, max_size=n)) for _ in range(3))
        out.append((now, drawn, start, draw(st.floats(-2, 2))))
    return out


def given_to(loss: Any, rows: Rows) -> tuple[float, list[Tensor]]:
    """The loss of a step, and its gradient by rollout."""
    logprobs = [torch.tensor(now, dtype=torch.float64, requires_grad=True) for now, _, _, _ in rows]
    sequences = [
        TrainSequence(tuple(range(len(now) + 1)), meta={"advantage": a, "logprobs": drawn, "reference": start})
        for now, drawn, start, a in rows
    ]
    value = loss(logprobs, sequences) / loss.total(sequences)
    value.backward()
    return float(value.detach()), [one.grad for one in logprobs if one.grad is not None]


def clip(ratio: float, low: float, high: float) -> float:
    return min(max(ratio, 1 - low), 1 + high)


@settings(max_examples=200, deadline=None)
@given(
    rollouts(),
    st.builds(
        Grpo,
        clip_low=st.sampled_from([0.1, 0.2]),
        clip_high=st.sampled_from([0.2, 0.28]),
        dual_clip=st.sampled_from([0.0, 1.5, 3.0]),
        kl=st.sampled_from([0.0, 0.04]),
        kl_estimator=st.sampled_from(["k2", "k3"]),
        entropy=st.sampled_from([0.0, 0.01]),
        average=st.sampled_from(["token", "sequence", "length-free"]),
        length=st.just(7),
    ),
)
def test_grpo_is_the_formula(rows: Rows, loss: Grpo) -> None:
    tokens = []
    for now, drawn, start, advantage in rows:
        mine = []
        for p, q, s in zip(now, drawn, start, strict=True):
            ratio = math.exp(p - q)
            gain = min(ratio * advantage, clip(ratio, loss.clip_low, loss.clip_high) * advantage)
            if loss.dual_clip and advantage < 0:
                gain = max(gain, loss.dual_clip * advantage)
            d = s - p
            kl = d * d / 2 if loss.kl_estimator == "k2" else math.exp(d) - d - 1
            mine.append(-gain + loss.kl * kl + loss.entropy * ratio * p)
        tokens.append(mine)
    flat = [one for mine in tokens for one in mine]
    wanted = {
        "token": sum(flat) / len(flat),
        "sequence": sum(sum(mine) / len(mine) for mine in tokens) / len(tokens),
        "length-free": sum(flat) / (7 * len(tokens)),
    }[loss.average]
    assert given_to(loss, rows)[0] == pytest.approx(wanted, rel=1e-5, abs=1e-5)


@settings(max_examples=100, deadline=None)
@given(rollouts(), st.sampled_from([0.2, 0.28]))
def test_rloo_is_the_formula(rows: Rows, high: float) -> None:
    gains = []
    for now, drawn, _, advantage in rows:
        ratio = math.exp(min(sum(now) - sum(drawn), 20.0))
        gains.append(min(ratio * advantage, clip(ratio, 0.2, high) * advantage))
    wanted = -sum(gains) / len(gains)
    assert given_to(Rloo(clip_high=high), rows)[0] == pytest.approx(wanted, rel=1e-4, abs=1e-5)


def test_dpo_is_the_formula() -> None:
    rng = random.Random(1)
    pairs = [[[rng.uniform(-3, 0) for _ in range(3)] for _ in range(4)] for _ in range(5)]
    logprobs, sequences, wanted = [], [], 0.0
    for place, (chosen, rejected, of_chosen, of_rejected) in enumerate(pairs):
        for now, start, good in ((chosen, of_chosen, True), (rejected, of_rejected, False)):
            logprobs.append(torch.tensor(now, dtype=torch.float64))
            sequences.append(TrainSequence((1, 2, 3, 4), group=f"{place}", meta={"chosen": good, "reference": start}))
        margin = sum(chosen) - sum(of_chosen) - sum(rejected) + sum(of_rejected)
        wanted += -math.log(1 / (1 + math.exp(-0.3 * margin))) / 5
    assert float(Dpo(beta=0.3)(logprobs, sequences)) == pytest.approx(wanted, abs=1e-6)
    likely = -sum(sum(chosen) / len(chosen) for chosen, *_ in pairs) / len(pairs)
    assert float(Dpo(beta=0.3, nll=0.7)(logprobs, sequences)) == pytest.approx(wanted + 0.7 * likely, abs=1e-6)


@pytest.mark.parametrize("loss", [Grpo(), Grpo(average="sequence"), Grpo(dual_clip=3.0), Rloo()])
def test_a_tied_group_moves_nothing(loss: Any) -> None:
    rows: Rows = [([-1.0, -2.0], [-1.5, -1.0], [-1.0, -1.0], 0.0), ([-0.3], [-0.4], [-0.2], 0.0)]
    value, gradients = given_to(loss, rows)
    assert value == 0
    assert all(bool((one == 0).all()) for one in gradients)


def test_ratios_beyond_all_bounds_have_finite_gradients() -> None:
    rows: Rows = [([-0.1], [-900.0], [-900.0], 1.0), ([-900.0], [-0.1], [-0.1], -1.0), ([-0.1], [-900.0], [0.0], -1.0)]
    for loss in (Grpo(kl=0.1), Rloo()):
        value, gradients = given_to(loss, rows)
        assert math.isfinite(value)
        assert all(bool(one.isfinite().all()) for one in gradients)


@pytest.mark.parametrize("estimator", ["k2", "entropy"])
def test_estimates_have_the_gradients_of_what_they_estimate(estimator: str) -> None:
    """Over all tokens of a small vocabulary, each as often as it is drawn."""
    torch.manual_seed(0)
    logits = torch.randn(6, dtype=torch.float64, requires_grad=True)
    start = torch.randn(6, dtype=torch.float64).log_softmax(0)
    logp = logits.log_softmax(0)
    loss: Any = Grpo(kl=1.0, kl_estimator="k2") if estimator == "k2" else Grpo(entropy=1.0)
    meta = [
        {"advantage": 0.0, "logprobs": [float(p.detach())], "reference": [float(s)]}
        for p, s in zip(logp, start, strict=True)
    ]
    each = [loss([logp[i : i + 1]], [TrainSequence((0, i), meta=meta[i])]) for i in range(6)]
    estimate = torch.stack([p.detach() * one for p, one in zip(logp.exp(), each, strict=True)]).sum()
    exact = (logp.exp() * (logp - (start if estimator == "k2" else 0))).sum()
    [found] = torch.autograd.grad(estimate, logits, retain_graph=True)
    [wanted] = torch.autograd.grad(exact, logits)
    assert torch.allclose(found, wanted, atol=1e-6)


# --- on the model --------------------------------------------------------------------------------------------------


def drawn_job(engine: Engine, loss: Any, *, advantages: tuple[float, ...] = (1.0, -0.5, -0.5), **hp: Any) -> TrainJob:
    """Rollouts that the engine itself drew."""
    rows = [GenerationRow((5, 6, 7 + group), max_tokens=6, temperature=1.0, seed=i, logprobs=True)
            for group in range(2) for i in range(3)]  # fmt: skip
    sequences = []
    for place, (row, done) in enumerate(zip(rows, engine.generate(rows), strict=True)):
        ids, logprobs = done.ids, done.logprobs or ()
        weights = (0.0,) * len(row.prompt) + (1.0,) * len(ids)
        meta = {"advantage": advantages[place % 3], "logprobs": logprobs}
        sequences.append(TrainSequence(row.prompt + ids, weights, group=f"{place // 3}", meta=meta))
    given = {"rank": 4, "targets": "all-linear", "epochs": 2, "learning_rate": 2e-3, "batch_size": 2, **hp}
    return TrainJob("job", tuple(sequences), HyperParameters(**given), seed=3, loss=loss)


class Watched:
    """A loss that keeps the log-probabilities it is called with."""

    def __init__(self, loss: Any) -> None:
        self.loss, self.seen = loss, list[tuple[Tensor, TrainSequence]]()
        self.needs_reference, self.total = True, loss.total

    def __call__(self, logprobs: Any, sequences: Any, /) -> Tensor:
        self.seen += [(one.detach(), s) for one, s in zip(logprobs, sequences, strict=True)]
        value: Tensor = self.loss(logprobs, sequences)
        return value


@pytest.mark.parametrize("loss", [Grpo(kl=0.1), Rloo()])
def test_in_the_first_step_the_ratio_is_1_and_the_divergence_0(loss: Any) -> None:
    engine = Engine(small_model("qwen2"), eos_token_ids=[2], pad_token_id=0)
    watched = Watched(loss)
    [result] = engine.train([drawn_job(engine, watched, epochs=1)])
    assert result.adapter is not None
    assert len(watched.seen) == 6
    for now, sequence in watched.seen:
        assert torch.allclose(now, torch.tensor(sequence.meta["logprobs"]), atol=1e-5)  # one engine draws and trains
        assert torch.allclose(now, torch.tensor(sequence.meta["reference"]), atol=1e-6)
    assert result.losses[0] == pytest.approx(
        -sum(s.meta["advantage"] * (1 if isinstance(loss, Rloo) else len(p)) for p, s in watched.seen)
        / loss.total([s for _, s in watched.seen]),
        abs=1e-4,
    )


def test_a_tied_job_leaves_the_adapter_as_it_was() -> None:
    engine = Engine(small_model("qwen2"), eos_token_ids=[2], pad_token_id=0)
    [tied] = engine.train([drawn_job(engine, "grpo", advantages=(0.0, 0.0, 0.0))])
    [moved] = engine.train([drawn_job(engine, "grpo")])
    assert tied.adapter is not None
    assert moved.adapter is not None
    assert all(bool((b == 0).all()) for _, b in tied.adapter.weights.values())
    assert moved.adapter.digest() != tied.adapter.digest()


@pytest.mark.parametrize("loss", [Grpo(clip_high=0.28, dual_clip=3.0, kl=0.05), Grpo(average="sequence"), Rloo()])
def test_a_step_is_cut_into_forwards_without_changing_it(loss: Any) -> None:
    model = small_model("qwen2")
    engine = Engine(model, eos_token_ids=[2], pad_token_id=0)
    job = drawn_job(engine, loss)
    small = Engine(model, eos_token_ids=[2], pad_token_id=0, plan=MemoryPlan(slots=1, tokens=12))
    [one], [other] = engine.train([job]), small.train([job])
    split = dataclasses.replace(job, hp=dataclasses.replace(job.hp, batch_size=1, grad_accumulation=2))
    [third] = engine.train([split])
    for result in (one, other, third):
        assert result.adapter is not None
        assert_same(result.adapter, train_alone(model, job))


# --- settings ------------------------------------------------------------------------------------------------------


def test_configurations_have_every_setting_of_the_losses() -> None:
    for of_settings in (DpoSettings(use="dpo"), GrpoSettings(use="grpo"), RlooSettings(use="rloo")):
        loss: Any = resolve_loss(of_settings.use)
        ours = {field.name: getattr(loss, field.name) for field in dataclasses.fields(loss)}
        ours.pop("needs_reference", None)
        assert {name: value for name, value in vars(of_settings).items() if name != "use"} == ours
        assert engine_loss(plain(of_settings)) == loss
    assert engine_loss(plain(GrpoSettings(use="grpo", clip_high=0.28))) == Grpo(clip_high=0.28)
    assert engine_loss(plain("sft")) == "sft"
