"""Pre-training from scratch on one thread: Muon on the matrices, AdamW on embeddings and norms.

Batch and learning rate of a step depend on the seed and the step alone: an interrupted run ends like a whole one.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from harness_lab.pretraining import course
from harness_lab.pretraining.course import Course

from harness_lab_maths.pretraining.tokenizer import Encoder, build
from harness_lab_maths.registers import MIX_VERSION, document
from harness_lab_maths.world import WORLD_VERSION

_CHUNK = 24  # batches whose documents are drawn together and sorted by length


@dataclass(frozen=True)
class TrainSettings:
    """What a run is. `steps` batches of at most `tokens` places each."""

    steps: int = 5400
    seed: int = 1
    tokens: int = 3072
    learning_rate: float = 4e-3
    warm_up: int = 60
    decay: float = 0.4
    """Share of the steps, at the end, over which the rate falls linearly to 2% of its peak."""
    clip: float = 1.0


class Batches:
    """Right-padded batches of documents of like lengths; batch `step` depends on the seed and the step alone."""

    def __init__(self, settings: TrainSettings) -> None:
        self._settings = settings
        self._encode = Encoder()
        self._chunk: tuple[int, list[list[tuple[list[int], list[float]]]]] = (-1, [])

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Ids and loss weights, [documents, longest]; padding has the id 0 and the weight 0."""
        number, place = divmod(step, _CHUNK)
        if self._chunk[0] != number:
            self._chunk = (number, self._draw(number))
        rows = self._chunk[1][place]
        longest = max(len(ids) for ids, _ in rows)
        ids, weights = torch.zeros(len(rows), longest, dtype=torch.long), torch.zeros(len(rows), longest)
        for i, (mine, weight) in enumerate(rows):
            ids[i, : len(mine)] = torch.tensor(mine)
            weights[i, : len(mine)] = torch.tensor(weight)
        return ids, weights

    def _draw(self, number: int) -> list[list[tuple[list[int], list[float]]]]:
        rng = random.Random(f"{self._settings.seed}/{number}")
        pool: list[tuple[list[int], list[float]]] = []
        batches: list[list[tuple[list[int], list[float]]]] = []
        while len(batches) < _CHUNK:
            for _ in range(300):
                pool.append(self._encoded(rng))
            pool.sort(key=lambda one: len(one[0]))
            batches = [[]]
            for one in pool:
                if batches[-1] and (len(batches[-1]) + 1) * len(one[0]) > self._settings.tokens:
                    batches.append([])
                batches[-1].append(one)
        rng.shuffle(batches)
        return batches[:_CHUNK]

    def _encoded(self, rng: random.Random) -> tuple[list[int], list[float]]:
        ids: list[int] = []
        weights: list[float] = []
        weight = 0.0
        for text, weight in document(rng):
            piece = self._encode(text)
            ids += piece
            weights += [weight] * len(piece)
        return [*ids, self._encode.eos], [*weights, weight]


class Run(Course):
    """A training run in a folder; one that holds a checkpoint is gone on with."""

    def __init__(self, settings: TrainSettings, out: Path) -> None:
        super().__init__(settings, build(), out, {"mix": MIX_VERSION, "world": WORLD_VERSION})
        self.model.set_attn_implementation("eager")  # 1.6 times as fast as the CPU's fused kernel on such short rows
        self.batches = Batches(settings)

    def advance(self) -> float:
        """One optimiser step; the weighted mean loss."""
        ids, weights = self.batches.batch(self.step)
        wanted = weights[:, 1:] > 0
        with torch.autocast("cpu", torch.bfloat16):
            hidden = self.model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
            logits = self.model.lm_head(hidden[wanted])
        losses = F.cross_entropy(logits.float(), ids[:, 1:][wanted], reduction="none")
        weight = weights[:, 1:][wanted]
        loss = (losses * weight).sum() / weight.sum()
        loss.backward()  # type: ignore[no-untyped-call]
        self.learn(ids.numel())
        return loss.item()

    def run(self, *, checkpoint_minutes: float, report_steps: int = 50) -> None:
        """Train to the end, with a log and a checkpoint in the folder."""
        torch.set_num_threads(1)
        self.out.mkdir(parents=True, exist_ok=True)
        before, started, saved, mean = self.seconds, time.process_time(), time.monotonic(), 0.0
        first = self.step
        while self.step < self.settings.steps:
            loss = self.advance()
            mean = loss if self.step == first + 1 else 0.97 * mean + 0.03 * loss
            self.seconds = before + time.process_time() - started
            if self.step % report_steps == 0:
                left = (self.settings.steps - self.step) * self.seconds / self.step / 60
                row = {
                    "step": self.step,
                    "tokens": self.tokens,
                    "loss": round(mean, 4),
                    "cpu_minutes": round(self.seconds / 60, 2),
                    "cpu_minutes_left": round(left, 1),
                }
                self.report(row)
            if time.monotonic() - saved > 60 * checkpoint_minutes:
                self.save()
                saved = time.monotonic()
        self.save()


def export(checkpoint: Path, out: Path) -> None:
    """Write a checkpoint's model with its tokenizer as a Hugging Face folder (float32 safetensors)."""
    course.export(checkpoint, build(), out, clock="cpu_minutes")
