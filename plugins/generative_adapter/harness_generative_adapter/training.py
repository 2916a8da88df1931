"""One-off training of a generator for a frozen model: first on text itself, then on questions about it.

Text: a document is predicted from its own memory (reconstruction), and its second half from the memory of the first
(completion). Questions: answers are predicted closed-book from the memory of the document. All losses are plain
cross-entropy (arXiv 2411.05877, section 3.3). All randomness is derived from the seed and the step, so that an
interrupted training continues as if it had never stopped.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from harness.engine.schedule import epoch_order
from harness.errors import UsageError
from harness_generative_adapter.generator import RECORD, Generator

Ids = tuple[int, ...]
Positive = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class TrainingSettings:
    """Length and optimiser of the training."""

    text_steps: Annotated[int, Field(ge=0)] = 1000
    """Steps of reconstruction and completion."""
    question_steps: Annotated[int, Field(ge=0)] = 2000
    batch: Positive = 8
    """Documents per step."""
    learning_rate: float = 1e-3
    """Rises over ``warmup`` steps, then falls to a tenth along a cosine over all steps."""
    warmup: Positive = 100
    weight_decay: float = 0.01
    clip: float = 1.0
    seed: int = 0
    save_every: Positive = 100
    """Steps between checkpoints."""


@dataclass(frozen=True)
class Document:
    """A text and its questions, as token ids."""

    text: Ids
    questions: tuple[tuple[Ids, Ids], ...]
    """``(prompt, answer)``; the answer ends with the end-of-text token."""


def train(
    generator: Generator,
    module: nn.Module,
    documents: Sequence[Document],
    settings: TrainingSettings,
    folder: Path,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Train ``generator`` in place and save it; the model's own weights get no gradient.

    Returns:
        The record that is written beside the weights: settings, steps, tokens, seconds, and the mean loss of the last
        50 steps of each phase.

    Raises:
        UsageError: there is nothing to train on, or the folder holds a training with other settings.
    """
    if not documents or (settings.question_steps and not any(one.questions for one in documents)):
        raise UsageError("there are no documents to train on, or no questions about them")
    folder.mkdir(parents=True, exist_ok=True)
    module.requires_grad_(False)
    module.eval()
    device = next(module.parameters()).device
    generator.to(device).train()
    optimiser = torch.optim.AdamW(
        generator.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, betas=(0.9, 0.98)
    )
    total = settings.text_steps + settings.question_steps
    state = _resumed(folder, generator, optimiser, settings)
    began = time.perf_counter() - state["seconds"]
    while state["step"] < total:
        step = state["step"]
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate * _rate(step, total, settings.warmup)
        phase = "text" if step < settings.text_steps else "questions"
        batch = _batch(documents, settings, step, with_questions=phase == "questions")
        loss, tokens = (_text_loss if phase == "text" else _question_loss)(generator, module, batch, device)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(generator.parameters(), settings.clip)
        optimiser.step()
        state["step"] = step + 1
        state["tokens"] += tokens
        state["losses"][phase] = [*state["losses"][phase], float(loss.detach())][-50:]
        if state["step"] % settings.save_every == 0 or state["step"] == total:
            state["seconds"] = time.perf_counter() - began
            _save(folder, generator, optimiser, settings, state)
            mine = state["losses"][phase]
            say(f"step {state['step']}/{total} ({phase}): loss {sum(mine) / len(mine):.3f}, {state['seconds']:.0f} s")
    record = {
        "settings": asdict(settings),
        "documents": len(documents),
        "steps": state["step"],
        "tokens": state["tokens"],
        "seconds": round(state["seconds"], 1),
        "loss": {name: round(sum(mine) / len(mine), 4) for name, mine in state["losses"].items() if mine},
    }
    generator.eval().cpu()
    generator.save(folder)
    (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (folder / _CHECKPOINT).unlink(missing_ok=True)
    return record


def _text_loss(
    generator: Generator, module: nn.Module, batch: Sequence[Document], device: torch.device
) -> tuple[Tensor, int]:
    whole = [one.text for one in batch]
    halves = [(text[: len(text) // 2], text[len(text) // 2 :]) for text in whole]
    contexts = [*whole, *(first for first, _ in halves)]
    targets = [*whole, *(second for _, second in halves)]
    memory = generator.normalised(generator.encode(module, *padded(contexts, device)))
    with generator.applied(module, memory):
        return _cross_entropy(module, [((), target) for target in targets], device), sum(map(len, contexts + targets))


def _question_loss(
    generator: Generator, module: nn.Module, batch: Sequence[Document], device: torch.device
) -> tuple[Tensor, int]:
    memory = generator.normalised(generator.encode(module, *padded([one.text for one in batch], device)))
    rows = [(place, pair) for place, one in enumerate(batch) for pair in one.questions]
    use = torch.tensor([place for place, _ in rows], device=device)
    tokens = sum(len(one.text) for one in batch) + sum(len(p) + len(a) for _, (p, a) in rows)
    with generator.applied(module, memory, use):
        return _cross_entropy(module, [pair for _, pair in rows], device), tokens


def _cross_entropy(module: nn.Module, pairs: Sequence[tuple[Ids, Ids]], device: torch.device) -> Tensor:
    """Mean over the target tokens of all pairs; a target's first token counts only if something precedes it."""
    ids, mask = padded([prompt + target for prompt, target in pairs], device)
    wanted = torch.zeros_like(mask)
    for row, (prompt, target) in enumerate(pairs):
        wanted[row, len(prompt) : len(prompt) + len(target)] = 1
    logits = module(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1].float()
    chosen = wanted[:, 1:].bool()
    return nn.functional.cross_entropy(logits[chosen], ids[:, 1:][chosen])


def padded(rows: Sequence[Ids], device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids and mask [rows, longest], padded at the right."""
    longest = max(map(len, rows))
    ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = torch.tensor(row)
        mask[place, : len(row)] = 1
    return ids.to(device), mask.to(device)


def _batch(
    documents: Sequence[Document], settings: TrainingSettings, step: int, *, with_questions: bool
) -> list[Document]:
    """The documents of a step: every document once per epoch, in an order drawn from seed and epoch."""
    usable = [one for one in documents if one.questions] if with_questions else documents
    first = (step - (settings.text_steps if with_questions else 0)) * settings.batch
    orders: dict[int, list[int]] = {}
    chosen = []
    for place in range(first, first + settings.batch):
        epoch = place // len(usable)
        order = orders.setdefault(epoch, epoch_order(len(usable), epoch, settings.seed))
        chosen.append(usable[order[place % len(usable)]])
    return chosen


def _rate(step: int, total: int, warmup: int) -> float:
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, total - warmup)
    return 0.1 + 0.9 * 0.5 * (1.0 + float(torch.cos(torch.tensor(done * torch.pi))))


_CHECKPOINT = "training.pt"


def _save(
    folder: Path,
    generator: Generator,
    optimiser: torch.optim.Optimizer,
    settings: TrainingSettings,
    state: dict[str, Any],
) -> None:
    whole = {
        "generator": generator.state_dict(),
        "optimiser": optimiser.state_dict(),
        "state": state,
        "settings": asdict(settings),
        "config": asdict(generator.config),
    }
    partial = folder / f"{_CHECKPOINT}.partial"
    torch.save(whole, partial)
    os.replace(partial, folder / _CHECKPOINT)


def _resumed(
    folder: Path, generator: Generator, optimiser: torch.optim.Optimizer, settings: TrainingSettings
) -> dict[str, Any]:
    path = folder / _CHECKPOINT
    if not path.exists():
        return {"step": 0, "tokens": 0, "seconds": 0.0, "losses": {"text": [], "questions": []}}
    whole = torch.load(path, weights_only=True)
    if whole["settings"] != asdict(settings) or whole["config"] != asdict(generator.config):
        raise UsageError(f"{path} is from a training with other settings; use those, or choose another --out")
    generator.load_state_dict(whole["generator"])
    optimiser.load_state_dict(whole["optimiser"])
    state: dict[str, Any] = whole["state"]
    return state
