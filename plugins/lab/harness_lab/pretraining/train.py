"""Pre-training from scratch: Muon on the matrices, AdamW on embeddings and norms, data-parallel over processes.

The schedule depends on the step only, the batches on (seed, shard, step): nothing depends on the clock, on how often
the run was interrupted or on the number of processes (up to the order of floating-point sums).
"""

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch.multiprocessing.spawn import spawn
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from harness_lab.pretraining.batches import ROW, Batch, Shard
from harness_lab.pretraining.mix import ANSWER, MIX_VERSION, WRITTEN
from harness_lab.pretraining.model import configuration, initialise
from harness_lab.pretraining.tokenizer import CachedEncoder, build
from harness_lab.world.facts import WORLD_VERSION

SHARDS = 2
CHECKPOINT = "checkpoint.pt"


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

    def rate(self, step: int) -> float:
        """The learning rate at `step`, counted from 0; it ends at 2% of the peak."""
        left = (self.steps - step) / (self.decay * self.steps)
        return self.learning_rate * min(1.0, (step + 1) / self.warm_up, max(0.02, left))


class Run:
    """One process of a training run."""

    def __init__(self, settings: TrainSettings, out: Path, device: str, rank: int, processes: int) -> None:
        self.settings, self.out, self.rank, self.processes = settings, out, rank, processes
        self.device = torch.device(device)
        self.tokenizer: PreTrainedTokenizerFast = build()
        eos, pad = self.tokenizer.eos_token_id, self.tokenizer.pad_token_id
        self.model = LlamaForCausalLM(configuration(len(self.tokenizer), eos, pad))
        initialise(self.model, settings.seed)
        self.model.to(self.device).train()  # type: ignore[arg-type]
        matrices = [p for n, p in self.model.named_parameters() if p.dim() == 2 and "embed" not in n]
        others = [p for n, p in self.model.named_parameters() if p.dim() != 2 or "embed" in n]
        rate = settings.learning_rate
        self.optimisers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(matrices, lr=rate, weight_decay=0.02, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.98), weight_decay=0.0),
        ]
        encode = CachedEncoder(self.tokenizer)
        self.shards = [Shard(encode, eos, settings.seed, s, settings.rows) for s in range(rank, SHARDS, processes)]
        self.step = 0
        self.seconds = 0.0
        self._resume()

    def _resume(self) -> None:
        path = self.out / CHECKPOINT
        if not path.exists():
            return
        saved = torch.load(path, map_location=self.device, weights_only=True)
        mine = asdict(self.settings) | {"tokens": 0}
        if saved["settings"] | {"tokens": 0} != mine:
            raise ValueError(f"{path} was made with other settings: {saved['settings']}; choose another folder")
        self.model.load_state_dict(saved["model"])
        for optimiser, state in zip(self.optimisers, saved["optimisers"], strict=True):
            optimiser.load_state_dict(state)
        self.step, self.seconds = saved["step"], saved["seconds"]

    def save(self) -> None:
        state: dict[str, Any] = {
            "settings": asdict(self.settings),
            "model": self.model.state_dict(),
            "optimisers": [o.state_dict() for o in self.optimisers],
            "step": self.step,
            "seconds": self.seconds,
            "versions": {"mix": MIX_VERSION, "world": WORLD_VERSION},
        }
        self.out.mkdir(parents=True, exist_ok=True)
        temporary = self.out / (CHECKPOINT + ".tmp")
        torch.save(state, temporary)
        os.replace(temporary, self.out / CHECKPOINT)

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
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = self.settings.rate(self.step)
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
        torch.nn.utils.clip_grad_norm_(parameters, self.settings.clip)
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        self.step += 1
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
                self._report(means, (time.monotonic() - started) / (self.step - first))
            if time.monotonic() - saved > 60 * checkpoint_minutes:
                self.save()
                saved = time.monotonic()
        if not self.rank:
            self.save()

    def _report(self, means: dict[str, float], seconds_a_step: float) -> None:
        row = {
            "step": self.step,
            "tokens": self.step * self.settings.tokens_a_step,
            **{name: round(value, 4) for name, value in means.items()},
            "rate": self.settings.rate(self.step),
            "minutes": round(self.seconds / 60, 1),
            "minutes_left": round((self.settings.steps - self.step) * seconds_a_step / 60, 1),
        }
        self.out.mkdir(parents=True, exist_ok=True)
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)


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
    """Write the model of a checkpoint with its tokenizer as a Hugging Face folder (float32 safetensors)."""
    saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
    tokenizer = build()
    model = LlamaForCausalLM(configuration(len(tokenizer), tokenizer.eos_token_id, tokenizer.pad_token_id))
    model.load_state_dict(saved["model"])
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    facts = {key: saved[key] for key in ("settings", "step", "versions")}
    facts["tokens_seen"] = saved["step"] * TrainSettings(**saved["settings"]).tokens_a_step
    facts["minutes"] = round(saved["seconds"] / 60, 1)
    (out / "pretraining.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
