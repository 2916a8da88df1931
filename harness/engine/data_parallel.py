"""A full fine-tune by several processes on one machine, each with a copy of the model.

The model is handed over as a folder of safetensors; each process loads it on a device of its own and computes a share
of every step's gradient, which gloo or NCCL adds up. The losses are those of one process but for the order of sums.
A process holds the whole model and its optimiser, so this buys time and no memory.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file

from .full import FullResult, full_finetune
from .group import Group
from .jobs import HyperParameters, TrainSequence
from .memory import MemoryPlan

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_START = "from harness.engine.data_parallel import serve; serve()"
_LOOPBACK = Path("/sys/class/net/lo")
_JOB, _RESULT, _WEIGHTS, _MEET = "job.pickle", "result.json", "weights.safetensors", "meet"


@dataclass(frozen=True)
class _Job:
    """Everything that the processes are told alike."""

    devices: tuple[str, ...]
    dtype: torch.dtype
    threads: int
    sequences: tuple[TrainSequence, ...]
    hp: HyperParameters
    seed: int
    plan: MemoryPlan
    lean: bool | None


def full_finetune_together(
    model: PreTrainedModel,
    sequences: Sequence[TrainSequence],
    hp: HyperParameters,
    devices: Sequence[str],
    *,
    seed: int = 0,
    plan: MemoryPlan | None = None,
    lean: bool | None = None,
) -> FullResult:
    """`full_finetune` by one process for each of `devices` ("cpu", "cuda:1"); `model` itself is left alone.

    A process that dies ends the others, and the result is an "error" that says which it was and its last line.
    """
    plan = plan or MemoryPlan.resolve(model)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="full-") as name:
        folder = Path(name)
        model.save_pretrained(folder)
        threads = max(1, torch.get_num_threads() // len(devices))
        job = _Job(tuple(devices), model.dtype, threads, tuple(sequences), hp, seed, plan, lean)
        (folder / _JOB).write_bytes(pickle.dumps(job))
        lost = _run(folder, devices)
        if lost:
            return FullResult("error", lost)
        result = FullResult(**json.loads((folder / _RESULT).read_text("utf-8")))
        weights = load_file(folder / _WEIGHTS) if result.status == "ok" else None
    return replace(result, weights=weights, losses=tuple(result.losses), seconds=time.perf_counter() - began)


def _run(folder: Path, devices: Sequence[str]) -> str:
    """Start one process per device and wait for all; what became of the first that failed, or ""."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path)}
    if _LOOPBACK.exists():  # all are on this machine, whose name need not resolve to an address
        environment.setdefault("GLOO_SOCKET_IFNAME", _LOOPBACK.name)
    started: list[subprocess.Popen[bytes]] = []
    errors = [folder / f"stderr-{rank}" for rank in range(len(devices))]
    try:
        for rank, path in enumerate(errors):
            command = [sys.executable, "-c", _START, str(folder), str(rank)]
            with path.open("wb") as file:
                # Their standard input is a pipe that ends with this process, and they with it.
                started.append(subprocess.Popen(
                    command, env=environment, stdin=subprocess.PIPE, stdout=file, stderr=file, start_new_session=True
                ))  # fmt: skip
        while any(process.poll() is None for process in started):
            if any(process.poll() for process in started):
                # The others lose their connection to it, and end too; the first to end is the one to blame.
                break
            time.sleep(0.02)
        failed = [rank for rank, process in enumerate(started) if process.poll()]
    finally:
        for process in started:
            process.kill()
            process.wait()
            assert process.stdin is not None
            process.stdin.close()
    if not failed:
        return ""
    rank = failed[0]
    said = errors[rank].read_text("utf-8", "replace").strip().splitlines()
    last = said[-1] if said else "nothing"
    code = started[rank].returncode
    return f"process {rank + 1} of {len(devices)} ({devices[rank]}) ended with {code}, having said: {last}"


def serve() -> None:
    """One process of the group: the command line has the folder and its rank."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    folder, rank = Path(sys.argv[1]), int(sys.argv[2])
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    job: _Job = pickle.loads((folder / _JOB).read_bytes())
    device = torch.device(job.devices[rank])
    torch.set_num_threads(job.threads)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    torch.distributed.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        init_method=f"file://{folder / _MEET}",
        rank=rank,
        world_size=len(job.devices),
    )
    model: Any = AutoModelForCausalLM.from_pretrained(str(folder), dtype=job.dtype, local_files_only=True)
    group = Group(rank, len(job.devices))
    result = full_finetune(
        model.to(device), job.sequences, job.hp, seed=job.seed, plan=job.plan, lean=job.lean, group=group
    )
    if rank == 0:
        if result.weights is not None:
            save_file({name: weight.contiguous() for name, weight in result.weights.items()}, folder / _WEIGHTS)
        (folder / _RESULT).write_text(json.dumps(asdict(replace(result, weights=None))), "utf-8")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def _end_with_the_parent() -> None:
    # Not through sys.stdin, whose lock this thread would hold when the process ends.
    os.read(0, 1)
    os._exit(1)
