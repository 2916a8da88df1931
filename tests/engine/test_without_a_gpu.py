"""The lines that only a GPU runs, run without one: its kernels in bf16, its devices, its memory."""

from __future__ import annotations

import pytest
import torch

import harness.engine.memory as memory
from harness.engine import Engine, GenerationRow, HyperParameters, MemoryPlan, ScoreRow, TrainJob, TrainSequence
from tests.engine.models import small_model
from tests.engine.pretended import DEVICE, Pretended

PLAN = MemoryPlan(slots=4, tokens=256, rows=8, cache_tokens=4096)
HP = HyperParameters(rank=3, alpha=6, targets="all-linear", epochs=3, learning_rate=5e-3)


def jobs() -> list[TrainJob]:
    rows = [tuple(range(3 + i, 12 + 5 * i)) for i in range(6)]
    return [TrainJob(f"job{i}", (TrainSequence(row), TrainSequence(rows[0])), HP, seed=i) for i, row in enumerate(rows)]


def engine(model: torch.nn.Module) -> Engine:
    return Engine(model, eos_token_ids=[2], pad_token_id=0, plan=PLAN)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_training_and_decoding_stay_on_the_device(dtype: torch.dtype) -> None:
    """Nothing mixes devices, the grouped kernels are taken, and the results are those of the CPU."""
    alone = engine(small_model("qwen2", dtype=dtype))
    wanted = {one.id: one for one in alone.train(jobs())}
    device = Pretended()
    model = device.move(small_model("qwen2", dtype=dtype))
    with device:
        there = engine(model)
        assert there._frozen.device == DEVICE
        assert there._frozen.segments([3, 4]).kernel == "grouped"
        found = {one.id: one for one in there.train(jobs())}
        adapters = [one.adapter for one in found.values() if one.adapter]
        rows = [GenerationRow((5, 6, 7, i), (one,), max_tokens=6, temperature=i % 2) for i, one in enumerate(adapters)]
        texts = there.generate(rows)
        scores = there.logprobs([ScoreRow((5, 6), (7, 8, 9), (one,)) for one in adapters])
        vectors = there.hidden([((5, 6, 7), (one,)) for one in adapters], layer=-1)
    close = 1e-3 if dtype == torch.float32 else 0.1
    assert len(adapters) == len(texts) == 6
    for name, one in found.items():
        assert one.losses == pytest.approx(wanted[name].losses, rel=close)
    near = alone.logprobs([ScoreRow((5, 6), (7, 8, 9), (one,)) for one in adapters])
    for mine, other in zip(scores, near, strict=True):
        assert mine == pytest.approx(other, abs=close)
    assert len(vectors[0]) == 32


def test_a_training_step_waits_for_the_host_once() -> None:
    """Norms and losses come to the host together at the end of a step; nothing else of a step does."""
    device = Pretended()
    model = device.move(small_model("llama"))
    with device:
        there = engine(model)
        device.pulled.clear()  # one forward, to see which linears the model has
        results = list(there.train(jobs()[:4]))
    steps = max(one.steps for one in results)
    assert device.pulled.pop("train.py:_update") <= 2 * steps + len(results)
    taken = device.pulled.pop("bank.py:read")  # the finished adapters
    assert taken == sum(2 * len(one.adapter.weights) for one in results if one.adapter)
    assert not device.pulled


def test_what_cuda_would_refuse_is_refused() -> None:
    device = Pretended()
    with device:
        there = torch.ones(3, device=DEVICE)
        with pytest.raises(RuntimeError, match="found cuda:0 and cpu"):
            there + torch.ones(3)
        assert (there + there.to("cpu").to(DEVICE)).sum().item() == 6
        assert (2 * there + torch.tensor(1.0)).device == DEVICE
        assert there.cpu().device.type == "cpu"
    assert sum(device.pulled.values()) == 3


@pytest.mark.parametrize("gib", [0.5, 8, 80, 141])
def test_memory_on_a_gpu_is_planned_from_what_cuda_says(gib: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """`mem_get_info` is what is free of the card; what torch has reserved and not allocated is free to us as well."""
    script = {"mem_get_info": (int(gib * 2**30), 0), "memory_reserved": 2**28, "memory_allocated": 2**27}
    for name, value in script.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    device = Pretended()
    with device:
        model = device.move(small_model("qwen2", dtype=torch.bfloat16))
        assert memory.free_memory(DEVICE) == int(gib * 2**30) + 2**27
        plan = MemoryPlan.resolve(model)  # type: ignore[arg-type]
    assert plan == MemoryPlan(slots=128, tokens=8192, rows=512, cache_tokens=1 << 20) or gib < 8
    assert plan.slots <= 128
