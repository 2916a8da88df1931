"""Pre-training from scratch: Muon on the matrices, AdamW on embeddings and norms, data-parallel over processes.

The schedule depends on the step only, the batches on (seed, shard, step): nothing depends on the clock, on how often
the run was interrupted or on the number of processes (up to the order of floating-point sums).
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.multiprocessing.spawn import spawn

from harness_lab.pretraining import course
from harness_lab.pretraining.batches import ROW, Batch, Shard
from harness_lab.pretraining.course import Course, rate
from harness_lab.pretraining.mix import ANSWER, MIX_VERSION, WRITTEN
from harness_lab.pretraining.tokenizer import CachedEncoder, build
from harness_lab.world.facts import WORLD_VERSION

SHARDS = 2


@dataclass(frozen=True)
class TrainSettings:
    """The definition of a run. `tokens` counts positions in batches; it determines the steps and the schedule."""

    tokens: int
    seed: int = 1
    rows: int = 5  # rows of a shard; a step takes SHARDS * rows * ROW tokens
    learning_rate: float = 3e-3
    warm_up: int = 60  # steps
    decay: float = 0.5  # share of the steps, counted from the end, over which the learning rate falls linearly
    clip: float = 1.0

    @property
    def tokens_a_step(self) -> int:
        return SHARDS * self.rows * ROW

    @property
    def steps(self) -> int:
        return self.tokens // self.tokens_a_step


class Run(Course):
    """One process of a training run."""

    def __init__(self, settings: TrainSettings, out: Path, device: str, rank: int, processes: int) -> None:
        tokenizer = build()
        versions = {"mix": MIX_VERSION, "world": WORLD_VERSION}
        super().__init__(settings, tokenizer, out, versions, device=device, ends=["tokens"])
        self.rank, self.processes = rank, processes
        encode = CachedEncoder(tokenizer)
        eos = tokenizer.eos_token_id
        self.shards = [Shard(encode, eos, settings.seed, s, settings.rows) for s in range(rank, SHARDS, processes)]

    def loss(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The weighted mean loss of a batch, and the losses and weights of its targets."""
        device = self.device
        chosen = batch.weights.reshape(-1).nonzero().squeeze(1)
        with torch.autocast(device.type, torch.bfloat16):
            hidden = self.model.model(
                input_ids=batch.tokens.to(device),
                position_ids=batch.positions.to(device),
                attention_mask=batch.mask.to(device, torch.bfloat16),
                use_cache=False,
            ).last_hidden_state
            logits = self.model.lm_head(hidden.reshape(-1, hidden.shape[-1])[chosen.to(device)])
        losses = F.cross_entropy(logits.float(), batch.targets.reshape(-1)[chosen].to(device), reduction="none")
        weights = batch.weights.reshape(-1)[chosen].to(device)
        return (losses * weights).sum() / weights.sum(), losses.detach(), weights

    def advance(self) -> dict[str, float]:
        """Take one optimiser step; returns the mean loss of this process's targets by their kind."""
        losses_of: list[torch.Tensor] = []
        weights_of: list[torch.Tensor] = []
        for shard in self.shards:
            loss, losses, weights = self.loss(shard.batch(self.step))
            (loss / SHARDS).backward()  # type: ignore[no-untyped-call]
            losses_of.append(losses)
            weights_of.append(weights)
        parameters = list(self.model.parameters())
        if self.processes > 1:
            flat = torch.cat([p.grad.reshape(-1) for p in parameters if p.grad is not None])
            dist.all_reduce(flat)
            parts = torch.split(flat, [p.numel() for p in parameters])
            for p, g in zip(parameters, parts, strict=True):
                p.grad = g.view_as(p)
        self.learn(self.settings.tokens_a_step)
        all_losses, all_weights = torch.cat(losses_of), torch.cat(weights_of)
        kinds = {"all": all_weights > 0, "edits": all_weights == WRITTEN, "answers": all_weights >= ANSWER}
        return {name: all_losses[chosen].mean().item() for name, chosen in kinds.items() if chosen.any()}

    def run(self, *, checkpoint_minutes: float, report_steps: int = 25) -> None:
        """Train to the end; rank 0 writes log.jsonl and the checkpoint."""
        started, before, first = time.monotonic(), self.seconds, self.step
        saved = started
        means: dict[str, float] = {}
        while self.step < self.settings.steps:
            now = self.advance()
            for name, value in now.items():
                means[name] = 0.97 * means.get(name, value) + 0.03 * value
            self.seconds = before + time.monotonic() - started
            if self.rank:
                continue
            if self.step % report_steps == 0:
                self._say(means, (time.monotonic() - started) / (self.step - first))
            if time.monotonic() - saved > 60 * checkpoint_minutes:
                self.save()
                saved = time.monotonic()
        if not self.rank:
            self.save()

    def _say(self, means: dict[str, float], seconds_a_step: float) -> None:
        row = {
            "step": self.step,
            "tokens": self.step * self.settings.tokens_a_step,
            **{name: round(value, 4) for name, value in means.items()},
            "rate": rate(self.settings, self.step),
            "minutes": round(self.seconds / 60, 1),
            "minutes_left": round((self.settings.steps - self.step) * seconds_a_step / 60, 1),
        }
        self.report(row)


def _process(rank: int, settings: TrainSettings, out: Path, device: str, processes: int, every: float) -> None:
    torch.set_num_threads(1 if processes > 1 else torch.get_num_threads())
    if processes > 1:
        meeting = (out / f".meeting-{os.getppid()}").resolve()
        dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=processes)
    Run(settings, out, device, rank, processes).run(checkpoint_minutes=every)
    if processes > 1:
        dist.destroy_process_group()


def train(settings: TrainSettings, out: Path, *, device: str, processes: int, checkpoint_minutes: float) -> None:
    """Train, or continue training, in folder `out`. The `processes` share a step's SHARDS and must divide them."""
    if SHARDS % processes:
        raise ValueError(f"processes must divide {SHARDS}, not {processes}")
    out.mkdir(parents=True, exist_ok=True)
    arguments = (settings, out, device, processes, checkpoint_minutes)
    if processes == 1:
        _process(0, *arguments)
    else:
        spawn(_process, arguments, nprocs=processes)  # type: ignore[no-untyped-call]


def export(checkpoint: Path, out: Path) -> None:
    """Write a checkpoint's model with its tokenizer as a Hugging Face folder (float32 safetensors)."""
    course.export(checkpoint, build(), out)
