"""What the training runs of all embedded models share: optimisers, the course of the rate, checkpoints, log and export.

`harness_lab` and `harness_lab_maths` differ in documents, batches and losses; from the gradient on they are alike.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from harness_lab.pretraining.model import configuration, initialise

CHECKPOINT = "checkpoint.pt"


class Settings(Protocol):
    """What a course has to know of a run's settings, which are a dataclass."""

    @property
    def seed(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def warm_up(self) -> int: ...
    @property
    def decay(self) -> float: ...
    @property
    def clip(self) -> float: ...


def rate(settings: Settings, step: int) -> float:
    """The learning rate at ``step``, counted from 0: warm-up, plateau, a linear fall to 2% of the peak."""
    left = (settings.steps - step) / (settings.decay * settings.steps)
    return settings.learning_rate * min(1.0, (step + 1) / settings.warm_up, max(0.02, left))


def untrained(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """The architecture for a tokenizer, with whatever weights."""
    return LlamaForCausalLM(configuration(len(tokenizer), tokenizer.eos_token_id, tokenizer.pad_token_id))


class Course:
    """A model under training in a folder: Muon on the matrices, AdamW on embeddings and norms.

    Args:
        ends: names of settings that only say where the run ends; a checkpoint may be gone on with under others.

    Raises:
        ValueError: the folder's checkpoint was made with other settings.
    """

    def __init__(
        self,
        settings: Any,
        tokenizer: PreTrainedTokenizerFast,
        out: Path,
        versions: Mapping[str, str],
        *,
        device: str = "cpu",
        ends: Iterable[str] = (),
    ) -> None:
        self.settings, self.out, self.device = settings, out, torch.device(device)
        self._versions = dict(versions)
        self.model = untrained(tokenizer)
        initialise(self.model, settings.seed)
        self.model.to(self.device).train()  # type: ignore[arg-type]
        named = list(self.model.named_parameters())
        matrices = [p for n, p in named if p.dim() == 2 and "embed" not in n]
        others = [p for n, p in named if p.dim() != 2 or "embed" in n]
        peak = settings.learning_rate
        self.optimisers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(matrices, lr=peak, weight_decay=0.02, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=peak, betas=(0.9, 0.98), weight_decay=0.0),
        ]
        self.step, self.tokens, self.seconds = 0, 0, 0.0
        self._resume(dict.fromkeys(ends, None))

    def _resume(self, ends: dict[str, None]) -> None:
        path = self.out / CHECKPOINT
        if not path.exists():
            return
        saved = torch.load(path, map_location=self.device, weights_only=True)
        if saved["settings"] | ends != asdict(self.settings) | ends:
            raise ValueError(f"{path} was made with other settings: {saved['settings']}; choose another folder")
        self.model.load_state_dict(saved["model"])
        for optimiser, state in zip(self.optimisers, saved["optimisers"], strict=True):
            optimiser.load_state_dict(state)
        self.step, self.tokens, self.seconds = saved["step"], saved["tokens"], saved["seconds"]

    def learn(self, tokens: int) -> None:
        """One optimiser step with the gradients that are there, at the rate of this step."""
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate(self.settings, self.step)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.clip)
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        self.step += 1
        self.tokens += tokens

    def report(self, row: Mapping[str, Any]) -> None:
        """A line for the log and for whoever waits."""
        line = json.dumps(row)
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(line + "\n")
        print(line, flush=True)

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        state: dict[str, Any] = {
            "settings": asdict(self.settings),
            "model": self.model.state_dict(),
            "optimisers": [o.state_dict() for o in self.optimisers],
            "step": self.step,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "versions": self._versions,
        }
        self.out.mkdir(parents=True, exist_ok=True)
        temporary = self.out / (CHECKPOINT + ".tmp")
        torch.save(state, temporary)
        os.replace(temporary, self.out / CHECKPOINT)


def export(checkpoint: Path, tokenizer: PreTrainedTokenizerFast, out: Path, *, clock: str = "minutes") -> None:
    """Write a checkpoint's model with its tokenizer as a Hugging Face folder (float32 safetensors).

    ``clock`` names what the run counted as its ``seconds``, in minutes: of the clock or of the CPU.
    """
    saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
    model = untrained(tokenizer)
    model.load_state_dict(saved["model"])
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    facts = {key: saved[key] for key in ("settings", "step", "tokens", "versions")}
    facts[clock] = round(saved["seconds"] / 60, 1)
    (out / "pretraining.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
