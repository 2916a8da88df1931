"""How much faster the engine runs SEAL's inner loop than one adapter at a time: ratios measured in one process.

    python benchmarks/inner_loop.py                  every CPU row, about 15 minutes of one core
    python benchmarks/inner_loop.py --quick          one repeat, without the padded reference, about 2 minutes
    python benchmarks/inner_loop.py --device cuda    the GPU rows (Qwen2.5-0.5B and 7B configurations, random weights)

On the CPU the measure is process time on one thread; the sides of a ratio alternate, and the ratio is that of the
medians. On CUDA it is wall-clock time between synchronisations. Absolute times say more about the machine than about
the code and are printed only to show what was divided by what.

The baseline trains one peft adapter at a time, one unpadded sequence per step. It is measured twice: as the plain loop
with the default `torch.optim.AdamW`, and with the fused AdamW that the engine uses too.

The sequences have real lengths: those of the recorded SEAL self-edits of
`$HARNESS_SHARED_DATA/seal/edits/val_base.json` (default `../shared/data`), split into lines plus the passage as SEAL
does, at 4.5 characters per token; without that file, lengths from a similar bimodal distribution are drawn. Token ids
are random: no tokenizer, no download.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import peft
import torch
import torch.nn.functional as F
from workload import Case, cpu_cases, cuda_cases, edit_lengths, jobs_for, tokens

from harness.engine import (
    Adapter,
    Engine,
    GenerationRow,
    MemoryPlan,
    Padding,
    TrainJob,
    TrainSequence,
    init_lora,
    learning_rate,
    step_batches,
)
from harness.engine.memory import activation_bytes_per_token, adapter_bytes
from harness.engine.product import pays, products

PADDED = 2048


class Sequential:
    """The baseline: one peft adapter on the same model, one unpadded sequence per step."""

    def __init__(self, case: Case, device: torch.device) -> None:
        model = case.build(device)
        start = init_lora(model, rank=case.hp.rank, alpha=case.hp.alpha, targets=case.hp.targets, seed=0)
        config = peft.LoraConfig(r=case.hp.rank, lora_alpha=case.hp.alpha, target_modules=list(start.targets))
        self.model: Any = peft.get_peft_model(model, config)
        self.start = start

    def load(self, adapter: Adapter) -> None:
        with torch.no_grad():
            for name in self.start.weights:
                layer = self.model.base_model.model.get_submodule(name)
                layer.lora_A["default"].weight.copy_(adapter.weights[name][0])
                layer.lora_B["default"].weight.copy_(adapter.weights[name][1])

    def train(self, jobs: Sequence[TrainJob], fused: bool | None) -> None:
        self.model.train()
        for job in jobs:
            hp = job.hp
            fresh = {n: (a, torch.zeros_like(b)) for n, (a, b) in self.start.weights.items()}
            self.load(Adapter(fresh, hp.rank, hp.alpha, self.start.targets))
            parameters = [p for p in self.model.parameters() if p.requires_grad]
            optimizer = torch.optim.AdamW(parameters, lr=hp.learning_rate, weight_decay=0.0, fused=fused)
            total = hp.epochs * len(job.sequences)
            for step in range(total):
                [[index]] = step_batches(len(job.sequences), step, hp, job.seed)
                ids = torch.tensor([job.sequences[index].ids], device=self.model.device)
                logits = self.model(input_ids=ids, use_cache=False).logits
                F.cross_entropy(logits[0, :-1].float(), ids[0, 1:]).backward()
                torch.nn.utils.clip_grad_norm_(parameters, hp.clip)
                optimizer.param_groups[0]["lr"] = learning_rate(hp, step, total)
                optimizer.step()
                optimizer.zero_grad()

    def generate(self, adapters: Sequence[Adapter], prompts: Sequence[tuple[int, ...]], new: int) -> None:
        """Answers, one adapter at a time, to all of its questions in one padded batch, as in the reference."""
        self.model.eval()
        width = max(len(prompt) for prompt in prompts)
        ids = torch.tensor([[0] * (width - len(p)) + list(p) for p in prompts], device=self.model.device)
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=self.model.device)
        for adapter in adapters:
            self.load(adapter)
            self.model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=new,
                min_new_tokens=new,
                do_sample=False,
                pad_token_id=0,
            )


def clock(device: torch.device) -> Callable[[], float]:
    if device.type == "cuda":

        def wall() -> float:
            torch.cuda.synchronize()
            return time.perf_counter()

        return wall
    return time.process_time


def alternate(device: torch.device, repeats: int, **sides: Callable[[], int]) -> dict[str, float]:
    """Median seconds per unit of each side. A side returns its number of units; the sides alternate `repeats` times."""
    now = clock(device)
    costs: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(repeats):
        for name, side in sides.items():
            began = now()
            units = side()
            costs[name].append((now() - began) / units)
    return {name: statistics.median(values) for name, values in costs.items()}


def training(case: Case, edits: Sequence[Sequence[int]], device: torch.device, repeats: int) -> dict[str, float]:
    """Seconds per trained token: sequential peft with plain and fused AdamW, and the engine with every K of the case.

    "K=16 without oneDNN" is the engine with torch's default library (MKL on x86) for the frozen weights, which the loop
    uses too: this is the effect of batching alone.

    The sequential sides train five epochs on 5 edits, the engine on 2 K edits: the end of the run, when slots become
    empty, is included in the figure, and weighs more than in a run of hundreds of edits.
    """
    sequential = Sequential(case, device)
    model = case.build(device)
    vocab = model.config.vocab_size
    hp = replace(case.hp, epochs=5)

    def alone(fused: bool | None) -> Callable[[], int]:
        def side() -> int:
            jobs = jobs_for(edits, hp, vocab, 5)
            sequential.train(jobs, fused)
            return tokens(jobs)

        return side

    def packed(slots: int) -> Callable[[], int]:
        def side() -> int:
            plan = MemoryPlan.resolve(model, rank=hp.rank, targets=hp.targets)
            engine = Engine(model, eos_token_ids=[2], pad_token_id=0, plan=replace(plan, slots=slots))
            jobs = jobs_for(edits, hp, vocab, max(5, 2 * slots))
            assert all(result.status == "ok" for result in engine.train(jobs))
            return tokens(jobs)

        return side

    def default_library() -> int:
        with torch.backends.mkldnn.flags(enabled=False):
            return packed(max(case.slots))()

    warm = jobs_for(edits, replace(hp, epochs=1), vocab, 2)
    sequential.train(warm, None)
    list(Engine(model, eos_token_ids=[2], pad_token_id=0).train(warm))
    sides = {"plain": alone(None), "fused": alone(True), **{f"K={k}": packed(k) for k in case.slots}}
    if pays(device, model.dtype):
        sides[f"K={max(case.slots)} without oneDNN"] = default_library
    return alternate(device, repeats, **sides)


def memory(case: Case, device: torch.device) -> tuple[float, float]:
    """Peak bytes of a training run whose forward passes have K sequences of 128 tokens, and the plan's estimate.

    Both include the base. On the CPU the measured side is the growth of the resident set during the run, which leaves
    out torch and oneDNN themselves; the caller runs this in a process of its own, whose heap holds nothing else.
    """
    model = case.build(device)
    base = sum(p.numel() * p.element_size() for p in model.parameters())
    slots, length = max(case.slots), 128
    plan = MemoryPlan(slots=slots, tokens=slots * length)
    engine = Engine(model, eos_token_ids=[2], pad_token_id=0, plan=plan)
    hp = replace(case.hp, epochs=3)
    list(engine.train([TrainJob("warm", (TrainSequence((5, 6, 7)),), hp)]))
    products(torch.zeros(128, 512, device=device), [(torch.zeros(512, 512, device=device), None)])
    jobs = jobs_for([[length]], hp, model.config.vocab_size, slots)
    computed = (
        base + slots * adapter_bytes(model, hp.rank, hp.targets) + plan.tokens * activation_bytes_per_token(model)
    )
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        list(engine.train(jobs))
        return float(torch.cuda.max_memory_allocated()), float(computed)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from what is resident now
    before = _status("VmRSS")
    list(engine.train(jobs))
    return base + _status("VmHWM") - before, float(computed)


def cpu_memory(name: str, lab: Path | None) -> tuple[float, float]:
    """`memory` for the named CPU case, to be run in a process of its own."""
    torch.set_num_threads(1)
    return memory(next(case for case in cpu_cases(lab) if case.name == name), torch.device("cpu"))


def _status(field: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field + ":"))
    return float(line.split()[1]) * 1024


def decoding(case: Case, device: torch.device, repeats: int, questions: int = 5, new: int = 16) -> dict[str, float]:
    """Seconds per answer: sequential peft `generate` (one batch of questions per adapter), and the engine."""
    slots = max(case.slots)
    sequential = Sequential(case, device)
    model = case.build(device)
    rng = random.Random(1)
    vocab = model.config.vocab_size
    prompts = [tuple(rng.randrange(3, vocab) for _ in range(rng.randint(20, 40))) for _ in range(questions)]
    adapters = []
    for seed in range(slots):
        fresh = init_lora(model, rank=case.hp.rank, alpha=case.hp.alpha, targets=case.hp.targets, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        weights = {n: (a, torch.randn(b.shape, generator=generator) * 0.02) for n, (a, b) in fresh.weights.items()}
        adapters.append(Adapter(weights, fresh.rank, fresh.alpha, fresh.targets))
    engine = Engine(model, eos_token_ids=[], pad_token_id=0)
    rows = [GenerationRow(prompt, (adapter,), max_tokens=new) for adapter in adapters for prompt in prompts]

    def alone() -> int:
        sequential.generate(adapters[:4], prompts, new)
        return 4 * questions

    def batched() -> int:
        engine.generate(rows)
        return len(rows)

    alone()
    batched()
    return alternate(device, repeats, sequential=alone, engine=batched)


def padded(case: Case, edits: Sequence[Sequence[int]], device: torch.device, steps: int) -> dict[str, float]:
    """Seconds per optimiser step of the published training, through `transformers.Trainer`, from `steps` steps.

    Every sequence is padded to 2,048 tokens, the padding is in the labels, batch 1; the first steps are left out.
    """
    from datasets import Dataset
    from transformers import Trainer, TrainerCallback, TrainingArguments

    sequential = Sequential(case, device)
    jobs = jobs_for(edits, case.hp, sequential.model.config.vocab_size, 8)
    rows = [s.ids for job in jobs for s in job.sequences][: steps + 2]
    data = Dataset.from_list(
        [
            {
                "input_ids": [*ids, *[2] * (PADDED - len(ids))], "labels": [*ids, *[2] * (PADDED - len(ids))],
                "attention_mask": [1] * len(ids) + [0] * (PADDED - len(ids)),
            }
            for ids in rows
        ]
    )  # fmt: skip
    now = clock(device)
    times: list[float] = []

    class Stamp(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(now())

    args = TrainingArguments(
        output_dir=os.environ.get("TMPDIR", "/tmp"), per_device_train_batch_size=1, max_steps=steps + 2, report_to=[],
        save_strategy="no", logging_strategy="no", disable_tqdm=True, use_cpu=device.type == "cpu", learning_rate=1e-3,
    )  # fmt: skip
    Trainer(model=sequential.model, args=args, train_dataset=data, callbacks=[Stamp()]).train()
    return {"padded step": (times[-1] - times[1]) / (len(times) - 2), "real tokens": statistics.mean(map(len, rows))}


def folded(case: Case, edits: Sequence[Sequence[int]], device: torch.device, slots: int) -> float:
    """Seconds per sequence of the engine with `pad_loss: reference`: the same objective as `padded`, folded."""
    model = case.build(device)
    engine = Engine(model, eos_token_ids=[2], pad_token_id=0)
    engine.plan = replace(engine.plan, slots=slots)
    jobs = jobs_for(edits, replace(case.hp, epochs=1), model.config.vocab_size, 2 * slots)
    jobs = [replace(j, sequences=tuple(replace(s, padding=Padding(PADDED, 2)) for s in j.sequences)) for j in jobs]
    now = clock(device)
    began = now()
    list(engine.train(jobs))
    return (now() - began) / sum(len(job.sequences) for job in jobs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repeats, no padded reference")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--models", default="", help="comma-separated names, default all")
    parser.add_argument(
        "--lab", type=Path, default=Path("plugins/lab/harness_lab/model"), help="folder of the lab model"
    )
    parser.add_argument(
        "--repeats", type=int, default=0, help="alternations of the two sides (default 3, with --quick 1)"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(arguments.device)
    shared = Path(os.environ.get("HARNESS_SHARED_DATA") or Path(__file__).parents[2] / "shared" / "data")
    edits, source = edit_lengths(shared)
    lab = arguments.lab if (arguments.lab / "config.json").exists() else None
    cases = cuda_cases() if device.type == "cuda" else cpu_cases(lab)
    wanted = set(arguments.models.split(",")) if arguments.models else {case.name for case in cases}
    repeats = arguments.repeats or (1 if arguments.quick else 3)
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"{os.cpu_count()}-core {platform.machine()} CPU"
    print(f"machine: {name}, 1 thread, torch {torch.__version__}; lengths: {source}")
    per_edit = statistics.mean(map(sum, edits))
    print(f"{statistics.mean(map(len, edits)):.1f} sequences and {per_edit:.0f} tokens per edit and epoch")
    for case in cases:
        if case.name not in wanted:
            continue
        costs = training(case, edits, device, repeats)
        plain, fused = costs.pop("plain"), costs.pop("fused")
        print(f"{case.name}: sequential peft {plain * 1e6:.0f} us a token, with fused AdamW {fused * 1e6:.0f}")
        for slots, cost in costs.items():
            rate = f", {1 / (cost * per_edit * 10):.2f} edits a second" if device.type == "cuda" else ""
            against = f"{plain / cost:.2f}x, against fused {fused / cost:.2f}x"
            print(f"{case.name}: train {slots}: {against} ({cost * 1e6:.0f} us a token{rate})", flush=True)
        answers = decoding(case, device, max(3, repeats))
        ms = f", {answers['engine'] * 5e3:.1f} ms an edit" if device.type == "cuda" else ""
        ratio = answers["sequential"] / answers["engine"]
        print(f"{case.name}: generate K={max(case.slots)}, 5 questions, 16 tokens: {ratio:.1f}x{ms}", flush=True)
        if device.type == "cuda":
            measured, computed = memory(case, device)
        else:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as apart:
                measured, computed = apart.submit(cpu_memory, case.name, lab).result()
        share = measured / computed
        print(f"{case.name}: peak memory {measured / 2**20:.0f} MiB, {share:.2f} of base + states + activations")
        if arguments.quick or device.type == "cuda":
            continue
        step = padded(case, edits, device, 20)
        real = plain * step["real tokens"]
        best = costs[f"K={max(case.slots)}"] * step["real tokens"]
        fold = folded(case, edits, device, max(case.slots))
        print(
            f"{case.name}: against the published way (padded to {PADDED}, Trainer, 20 steps): "
            f"{step['padded step'] / best:.0f}x = padding {step['padded step'] / real:.0f}x * batching "
            f"{real / best:.2f}x (changed objective); pad_loss reference (same objective): "
            f"{step['padded step'] / fold:.0f}x",
            flush=True,
        )


if __name__ == "__main__":
    main()
