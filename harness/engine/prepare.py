"""Preparing a training job: its checks, its starting adapter, and the targets of each of its sequences."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

from . import distil
from .adapter import Adapter, init_lora, stack_digest
from .forward import FrozenModel
from .jobs import Loss, TrainJob, TrainResult, TrainSequence
from .losses import Sft, resolve_loss, target_weights, targets
from .schedule import groups, steps_per_epoch


@dataclass(frozen=True)
class Prepared:
    """A job that passed its checks, with its starting adapter and resolved loss."""

    job: TrainJob
    start: Adapter
    loss: Loss
    units: list[list[int]]  # groups of sequence indices
    targets: list[list[int]]
    weights: list[list[float]]
    total_steps: int
    stack: str

    @property
    def tokens(self) -> int:
        """Token positions the whole job will train on."""
        return self.job.hp.epochs * sum(cost(sequence) for sequence in self.job.sequences)

    @property
    def content(self) -> str:
        """A digest of everything that the job trains, whatever it is called: it decides between jobs of one size."""
        job = self.job
        init = "" if job.init is None else job.init.digest()
        trained = (job.sequences, job.hp, job.seed, self.stack, init, type(self.loss).__name__)
        return hashlib.sha256(repr(trained).encode()).hexdigest()


def prepare(frozen: FrozenModel, job: TrainJob) -> Prepared | TrainResult:
    """Check a job and create its starting adapter; a "failed" result where the job cannot be trained."""
    try:
        problem = job.hp.problem() or data_problem(job.sequences, frozen.model.config.vocab_size, frozen.window)
        if problem:
            raise ValueError(problem)
        loss = resolve_loss(job.loss)
        if isinstance(loss, Sft) and loss.restrains:
            problem = restraint_problem(job, loss, frozen.model.config.vocab_size, frozen.window)
            if problem:
                raise ValueError(problem)
        if not isinstance(loss, Sft) and any(sequence.padding is not None for sequence in job.sequences):
            raise ValueError("padding positions can be trained with the loss 'sft' only")
        if not isinstance(loss, Sft) and any("teacher" in sequence.meta for sequence in job.sequences):
            raise ValueError("only the loss 'sft' can learn from a teacher's distributions")
        hp = job.hp
        start = init_lora(frozen.model, rank=hp.rank, alpha=hp.alpha, targets=hp.targets, seed=job.seed)
        if job.init is not None:
            frozen.check(job.init)
            same = (job.init.rank, job.init.alpha, set(job.init.weights)) == (hp.rank, hp.alpha, set(start.weights))
            if not same:
                raise ValueError(
                    f"the initial adapter (rank {job.init.rank}, alpha {job.init.alpha:g}, "
                    f"{', '.join(job.init.targets)}) does not have the job's rank {hp.rank}, alpha {hp.alpha:g} "
                    f"and targets {', '.join(start.targets)}"
                )
            if hp.keep_optimizer and job.init.optimizer is None:
                raise ValueError(
                    f"the initial adapter {job.init.digest()[:12]} was stored without its optimiser state; train it "
                    "with keep_optimizer, or continue it without keep_optimizer"
                )
            start = job.init
        for adapter in job.stack:
            frozen.check(adapter)
    except ValueError as error:
        return TrainResult(job.id, "failed", str(error))
    units = groups(job.sequences)
    return Prepared(
        job, start, loss, units, [targets(s) for s in job.sequences], [target_weights(s) for s in job.sequences],
        hp.epochs * steps_per_epoch(len(units), hp), stack_digest(job.stack),
    )  # fmt: skip


def restraint_problem(job: TrainJob, loss: Sft, vocab: int, window: int | None) -> str | None:
    """Why this job cannot be held back as its loss says, or None."""
    if not (0 <= loss.ewc < float("inf") and 0 <= loss.orthogonal < float("inf") and 0 <= loss.null_space <= 1):
        return f"ewc and orthogonal must be >= 0 and null_space in [0, 1], got {loss}"
    if job.init is not None and (loss.orthogonal or loss.null_space):
        return "orthogonal and null_space hold back a new adapter beside earlier ones, not one that is trained further"
    problem = data_problem(job.retained, vocab, window) if job.retained else None
    return f"retained: {problem}" if problem else None


def data_problem(sequences: Sequence[TrainSequence], vocab: int, window: int | None) -> str | None:
    """Why these sequences cannot be trained on, or None."""
    if not sequences:
        return "there is nothing to train on: no sequences"
    for i, sequence in enumerate(sequences):
        if sequence.weights is not None and not all(0 <= weight < float("inf") for weight in sequence.weights):
            return f"sequence {i} has a negative or infinite loss weight"
        if not sequence.ids:
            return f"sequence {i} is empty"
        if not all(0 <= token < vocab for token in sequence.ids):
            return f"sequence {i} has a token id outside the vocabulary of {vocab}"
        if sequence.padding is not None and window is not None and sequence.padding.to > window:
            return f"sequence {i} is padded to {sequence.padding.to}, beyond the model's attention window of {window}"
    if not any(targets(s) or pad_targets(s) for s in sequences):
        return "there is nothing to train on: no target has a loss weight"
    return distil.problem(sequences) or None


def pad_targets(sequence: TrainSequence) -> int:
    """The number of targets that are padding tokens: the first is predicted from the last real token, the others from
    padding positions."""
    return 0 if sequence.padding is None else max(0, sequence.padding.to - len(sequence.ids))


def pad_nodes(sequence: TrainSequence) -> int:
    """The number of padding positions that are computed."""
    return 0 if sequence.padding is None else min(sequence.padding.nodes, max(0, pad_targets(sequence) - 1))


def cost(sequence: TrainSequence) -> int:
    """Token positions that the sequence takes in a forward."""
    return len(sequence.ids) + pad_nodes(sequence)


def pad_positions(length: int, to: int, nodes: int, seed: str) -> list[int]:
    """`nodes` of the padding positions `length .. to - 2`, one drawn from each of `nodes` equal strata."""
    rng = random.Random(f"padding/{seed}")
    width = (to - 1 - length) / max(1, nodes)
    return [length + min(int((j + rng.random()) * width), to - 2 - length) for j in range(nodes)]
