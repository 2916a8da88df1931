"""The lines that only a GPU runs, run without one: its kernels in bf16, its devices, its memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import harness.engine.memory as memory
from harness.engine import Engine, GenerationRow, HyperParameters, MemoryPlan, ScoreRow, Sft, TrainJob, TrainSequence
from harness.engine.attention import CachedAttention
from harness.engine.forward import FrozenModel
from harness.engine.split import device_map
from tests.engine.models import random_adapter, small_model
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


def halves(device: Pretended, model: torch.nn.Module) -> torch.nn.Module:
    """The model with one of its two layers on each of two GPUs."""
    for name, where in device_map(model, ["cuda:0", "cuda:1"]).items():
        device.move(model.get_submodule(name), torch.device(where))
    return model


RESTRAINED = {"ewc": 5.0, "orthogonal": 0.5, "null_space": 0.9}


@pytest.mark.parametrize("family", ["qwen2", "gpt_neox"])
def test_a_model_on_two_gpus_gives_what_it_gives_on_one(family: str) -> None:
    """Adapters lie with their layers, only activations and gradients cross, and nothing mixes two devices."""
    base = small_model(family)
    below = random_adapter(base, 7)
    work = [replace(one, stack=(below,)) for one in jobs()[:3]] + jobs()[3:]
    kept = TrainSequence(tuple(range(20, 40)))
    work[0] = replace(work[0], loss=Sft(**RESTRAINED), retained=(kept,))
    work[4] = replace(work[4], hp=replace(HP, keep_optimizer=True, clip=0.05))
    found: list[Any] = []
    for split in (False, True):
        device = Pretended()
        model = small_model(family)
        halves(device, model) if split else device.move(model)
        with device:
            there = engine(model)
            done = sorted(there.train(work), key=lambda one: one.id)
            adapters = [one.adapter for one in done if one.adapter]
            again = replace(work[4], id="again", init=adapters[4], stack=())
            done += there.train([again])
            rows = [GenerationRow((5, 6, 7, i), (below, one), 6, i % 2) for i, one in enumerate(adapters)]
            texts = there.generate([*rows, GenerationRow((5, 6, 7), (), max_tokens=9)])
            asks = [ScoreRow((*range(5, 45), i), (7, 8, 9), (one,)) for i, one in enumerate(adapters)]
            scores = there.logprobs([*asks, *(one._replace(prompt=(*one.prompt[:-1], 90)) for one in asks)])
            vectors = there.hidden([((5, 6, 7), (one,)) for one in adapters], layer=-1)
        assert [one.status for one in done] == ["ok"] * 7, done
        crossed = {("cuda:0", "cuda:1"), ("cuda:1", "cuda:0")}
        assert set(device.moved) == (crossed if split else set())
        found.append((done, texts, scores, vectors))
    (one, *alone), (two, *apart) = found
    for mine, other in zip(one, two, strict=True):
        assert mine.losses == pytest.approx(other.losses, rel=1e-5)
        assert mine.adapter
        assert other.adapter
        for name, pair in mine.adapter.weights.items():
            for a, b in zip(pair, other.adapter.weights[name], strict=True):
                torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    assert [text.ids for text in alone[0]] == [text.ids for text in apart[0]]
    for mine, other in zip([*alone[1], *alone[2]], [*apart[1], *apart[2]], strict=True):
        assert mine == pytest.approx(other, abs=1e-4)


def test_decoding_steps_have_few_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rows, stacks and lengths: a forward's shapes are those of its powers of two and of its multiple of
    64, as a captured graph needs. Texts are those of the CPU, where shapes are exact."""
    seen: dict[tuple[int, ...], set[tuple[object, ...]]] = {}
    forward, steps = FrozenModel.logits, 0

    def recorded(
        frozen: FrozenModel, ids: Sequence[int], positions: object, attend: object, *rest: Any
    ) -> torch.Tensor:
        nonlocal steps
        if not isinstance(attend, CachedAttention) or attend._cache.capacity % 64:
            return forward(frozen, ids, positions, attend, *rest)  # type: ignore[arg-type]  # the prompts'
        with Shapes() as shapes:
            logits = forward(frozen, ids, positions, attend, *rest)  # type: ignore[arg-type]
        steps += 1
        slots = rest[0].all[0].bank.weights.flat.shape[0] if rest[0].all else 0
        seen.setdefault((len(ids), attend._cache.capacity, slots), set()).add(tuple(shapes.found))
        return logits

    alone, device = engine(small_model("llama")), Pretended()
    adapters = [random_adapter(alone.model, seed) for seed in range(5)]
    calls = [
        [
            GenerationRow(
                tuple(range(3, 6 + 7 * i)),
                (adapters[(i + call) % 5],) if i % 3 else (),
                max_tokens=1 + (5 * i + call) % 13,
            )
            for i in range(count)
        ]
        for call, count in enumerate((1, 3, 5, 6, 7, 11))
    ]
    wanted = [[one.ids for one in alone.generate(rows)] for rows in calls]
    monkeypatch.setattr(FrozenModel, "logits", recorded)
    with device:
        there = engine(device.move(small_model("llama")))
        found = [[one.ids for one in there.generate(rows)] for rows in calls]
    assert found == wanted
    assert steps > 40
    rows, capacities, slots = ({key[i] for key in seen} for i in range(3))
    assert rows <= {1, 2, 4, 8}
    assert capacities <= {64, 128}
    assert slots <= {0, 1, 2, 4, 8}
    assert all(len(shapes) == 1 for shapes in seen.values()), "the same work in every step of the same size"


class Shapes(TorchDispatchMode):
    """The operations of a block, with the shapes of their operands."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[object, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        shapes = (tuple(one.shape) for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor))
        self.found.append((str(func), *shapes))
        return func(*args, **(kwargs or {}))


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
        other = there.to("cuda:1")
        assert other.device == torch.device("cuda:1")
        with pytest.raises(RuntimeError, match="found cuda:0 and cuda:1"):
            there + other
        x = torch.ones(3, device=DEVICE, requires_grad=True)
        (x.to("cuda:1") * other).sum().backward()  # type: ignore[no-untyped-call]
        assert x.grad is not None
        assert x.grad.device == DEVICE
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
