"""What nobody has seen yet: the engine on a GPU. Parity, memory and speed in under 10 minutes, and what to send back.

    python benchmarks/gpu_first_run.py                     on the first GPU
    python benchmarks/gpu_first_run.py --device cpu --small   the same lines on a CPU, in a minute

Every stage prints a line as it ends and goes on where one fails; the last line is a JSON object to send with an issue.
Stages: ``parity`` (fp32 on the device against fp32 on the CPU, then bf16 by grouped products against bf16 by a loop),
``divided`` (a model divided among two GPUs against the same on one; left out where there is one),
``memory`` (what the plan allows, and what was used), ``speed`` (edits per second by pack size; tokens per second),
``table`` (the GPU rows of benchmarks/RESULTS.md; left out with ``--small``).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import PreTrainedModel
from workload import cuda_cases, edit_lengths, jobs_for, qwen2, tokens

import harness.engine.forward as forward
from harness.engine import Engine, GenerationRow, HyperParameters, MemoryPlan, ScoreRow, TrainResult
from harness.engine.memory import free_memory
from harness.engine.split import device_map

SHORT = HyperParameters(rank=8, alpha=16, targets="all-linear", epochs=2)


def engine(model: PreTrainedModel, plan: MemoryPlan | None = None) -> Engine:
    return Engine(model, eos_token_ids=[2], pad_token_id=0, plan=plan)


def finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def trained(model: PreTrainedModel, count: int, hp: HyperParameters = SHORT) -> list[TrainResult]:
    vocab = model.config.vocab_size
    jobs = jobs_for([[9, 31, 14, 60], [22, 12], [40, 41, 42]], hp, vocab, count)
    return sorted(engine(model).train(jobs), key=lambda one: one.id)


@contextmanager
def kernel(name: Literal["loop", "grouped"]) -> Iterator[None]:
    before = forward.choose_kernel
    forward.choose_kernel = lambda device, counts, grad: name
    try:
        yield
    finally:
        forward.choose_kernel = before


def parity(device: torch.device, small: bool) -> dict[str, Any]:
    """Losses and log-probabilities against the CPU's, and the two kernels against each other."""
    torch.backends.cuda.matmul.allow_tf32 = False
    ours, theirs = (qwen2(64, 2, 4, 2, 128, 512).to(where) for where in (device, "cpu"))
    pairs = list(zip(trained(ours, 6), trained(theirs, 6), strict=True))
    loss = max(abs(a - b) for one, other in pairs for a, b in zip(one.losses, other.losses, strict=True))
    rows = [ScoreRow((5, 6, 7), tuple(range(10, 40)), (one.adapter,)) for one, _ in pairs if one.adapter]
    scores = [engine(model).logprobs(rows) for model in (ours, theirs)]
    score = max(abs(a - b) for one, other in zip(*scores, strict=True) for a, b in zip(one, other, strict=True))
    asks = [GenerationRow((5, 6, 7, i), row.adapters, max_tokens=16) for i, row in enumerate(rows)]
    texts = [[one.ids for one in engine(model).generate(asks)] for model in (ours, theirs)]
    half = qwen2(64, 2, 4, 2, 128, 512, torch.bfloat16).to(device)
    kernels = []
    for name in ("grouped", "loop"):
        with kernel(name):
            kernels.append(trained(half, 6))
    apart = max(
        abs(a - b) / b for one, two in zip(*kernels, strict=True) for a, b in zip(one.losses, two.losses, strict=True)
    )
    return {
        "fp32_loss_apart": loss,
        "fp32_logprob_apart": score,
        "greedy_equal": f"{sum(a == b for a, b in zip(*texts, strict=True))}/{len(asks)}",
        "bf16_kernels_loss_apart": apart,
        "ok": loss < 1e-3 and score < 1e-3 and apart < 0.05,
    }


def divided(device: torch.device, small: bool) -> dict[str, Any]:
    """Losses, texts and log-probabilities of a model of which each of two GPUs holds a half."""
    if device.type != "cuda" or torch.cuda.device_count() < 2:
        return {"left_out": True, "ok": True}
    torch.backends.cuda.matmul.allow_tf32 = False
    whole, halves = qwen2(64, 2, 4, 2, 128, 512).to("cuda:0"), qwen2(64, 2, 4, 2, 128, 512)
    for name, where in device_map(halves, ["cuda:0", "cuda:1"]).items():
        halves.get_submodule(name).to(where)
    found = []
    for model in (whole, halves):
        results = trained(model, 6)
        adapters = [one.adapter for one in results if one.adapter]
        scores = engine(model).logprobs([ScoreRow((5, 6, 7), tuple(range(10, 40)), (one,)) for one in adapters])
        texts = engine(model).generate([GenerationRow((5, 6, 7), (one,), max_tokens=16) for one in adapters])
        losses = [loss for one in results for loss in one.losses]
        found.append((losses, [score for row in scores for score in row], [one.ids for one in texts]))
    loss, score = (max(abs(a - b) for a, b in zip(found[0][i], found[1][i], strict=True)) for i in (0, 1))
    return {
        "loss_apart": loss,
        "logprob_apart": score,
        "greedy_equal": f"{sum(a == b for a, b in zip(found[0][2], found[1][2], strict=True))}/{len(found[0][2])}",
        "ok": loss < 1e-4 and score < 1e-4,
    }


def memory(device: torch.device, small: bool) -> dict[str, Any]:
    """Whether the plan holds: as many adapters side by side as it says, with the longest forward that it allows."""
    model = _model(device, small)
    plan = MemoryPlan.resolve(model)
    free = free_memory(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    hp = HyperParameters(rank=32, alpha=64, targets=("q_proj", "v_proj"), epochs=1)
    length = min(2048, plan.tokens) - 8
    jobs = jobs_for([[length]], hp, model.config.vocab_size, min(plan.slots, 16 if small else plan.slots))
    results = list(engine(model, plan).train(jobs))
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
    reduced = sum(one.reduced for one in results)
    return {
        "plan": plan.to_json(), "free_gib": free / 2**30, "peak_gib": peak / 2**30, "adapters": len(results),
        "reduced": reduced, "ok": not reduced and all(one.status == "ok" for one in results),
    }  # fmt: skip


def speed(device: torch.device, small: bool) -> dict[str, Any]:
    """Edits per second by pack size, and tokens per second of greedy decoding under as many adapters."""
    model = _model(device, small)
    edits, where = edit_lengths(Path(__file__).parents[2] / "shared" / "data")
    plan = MemoryPlan.resolve(model)
    hp = HyperParameters(rank=32, alpha=64, targets=("q_proj", "v_proj"), epochs=1 if small else 10)
    out: dict[str, Any] = {"lengths": where}
    for size in (1, 4, 16, 64):
        if size > plan.slots or (small and size > 4):
            break
        jobs = jobs_for(edits, hp, model.config.vocab_size, size)
        runs = engine(model, plan)
        list(runs.train(jobs[:1]))
        finish(device)
        began = time.perf_counter()
        results = list(runs.train(jobs))
        finish(device)
        seconds = time.perf_counter() - began
        out[f"edits_per_s_{size}"], out[f"tokens_per_s_{size}"] = size / seconds, tokens(jobs) / seconds
    adapters = [one.adapter for one in results if one.adapter]
    rows = [
        GenerationRow((5, 6, 7, i), (adapters[i % len(adapters)],), max_tokens=8 if small else 64) for i in range(16)
    ]
    finish(device)
    began = time.perf_counter()
    written = sum(len(one.ids) for one in runs.generate(rows))
    finish(device)
    return {**out, "decoded_per_s": written / (time.perf_counter() - began), "ok": True}


def table(device: torch.device, small: bool) -> dict[str, Any]:
    """The rows of the results table, by the benchmark that defines them."""
    if small:
        return {"left_out": True, "ok": True}
    command = [sys.executable, str(Path(__file__).with_name("inner_loop.py")), "--device", "cuda", "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=420, check=False)
    return {"output": done.stdout[-6000:], "error": done.stderr[-1000:], "ok": done.returncode == 0}


def _model(device: torch.device, small: bool) -> PreTrainedModel:
    return qwen2(64, 2, 4, 2, 128, 512, torch.bfloat16).to(device) if small else cuda_cases()[0].build(device)


def facts(device: torch.device) -> dict[str, Any]:
    import transformers

    out: dict[str, Any] = {"torch": torch.__version__, "transformers": transformers.__version__, "device": str(device)}
    if device.type == "cuda":
        out |= {"gpu": torch.cuda.get_device_name(device), "capability": torch.cuda.get_device_capability(device)}
    return out


STAGES: tuple[Callable[[torch.device, bool], dict[str, Any]], ...] = (parity, divided, memory, speed, table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="tiny models, one short run of everything")
    given = parser.parse_args()
    device = torch.device(given.device)
    report: dict[str, Any] = {"facts": facts(device)}
    for stage in STAGES:
        began = time.perf_counter()
        try:
            found = stage(device, given.small)
        except Exception as error:  # the next stage may work, and the report is what this is for
            found = {"ok": False, "error": f"{type(error).__name__}: {error}", "where": traceback.format_exc()[-1500:]}
        found["seconds"] = time.perf_counter() - began
        report[stage.__name__] = found
        print(f"{stage.__name__:8} {'ok' if found['ok'] else 'FAILED'}  {found['seconds']:.1f} s", flush=True)
    print(json.dumps(report))
    return 0 if all(report[stage.__name__]["ok"] for stage in STAGES) else 1


if __name__ == "__main__":
    sys.exit(main())
