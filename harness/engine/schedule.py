"""Which sequences a job trains on in each step, and at which learning rate; both depend on the job alone.

These functions are public so that a sequential reference can use exactly the same order and rates.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from .jobs import HyperParameters, TrainSequence


def epoch_order(n: int, epoch: int, seed: int) -> list[int]:
    """The order in which epoch `epoch` (from 0) visits `n` items.

    It is that of `random.Random("epoch-order/<seed>/<epoch>").shuffle`, which is the same on every platform.
    """
    order = list(range(n))
    random.Random(f"epoch-order/{seed}/{epoch}").shuffle(order)
    return order


def groups(sequences: Sequence[TrainSequence]) -> list[list[int]]:
    """Indices of the sequences of each group, in order of first appearance; every ungrouped one is a group of its
    own."""
    found: dict[str | int, list[int]] = {}
    for i, sequence in enumerate(sequences):
        found.setdefault(i if sequence.group is None else sequence.group, []).append(i)
    return list(found.values())


def steps_per_epoch(n: int, hp: HyperParameters) -> int:
    """Optimiser steps per epoch of `n` groups; the last one may have fewer groups, as in transformers' Trainer."""
    return math.ceil(n / (hp.batch_size * hp.grad_accumulation))


def step_batches(n: int, step: int, hp: HyperParameters, seed: int) -> list[list[int]]:
    """The groups of optimiser step `step` (from 0): up to `grad_accumulation` batches of up to `batch_size` groups."""
    per_epoch = steps_per_epoch(n, hp)
    order = epoch_order(n, step // per_epoch, seed)
    size = hp.batch_size * hp.grad_accumulation
    mine = order[step % per_epoch * size :][:size]
    return [mine[i : i + hp.batch_size] for i in range(0, len(mine), hp.batch_size)]


def learning_rate(hp: HyperParameters, step: int, total: int) -> float:
    """The learning rate of step `step` (from 0) of `total`, as in transformers' linear, cosine and constant schedules
    with warm-up."""
    if step < hp.warmup_steps:
        return hp.learning_rate * step / hp.warmup_steps
    done = (step - hp.warmup_steps) / max(1, total - hp.warmup_steps)
    if hp.schedule == "linear":
        return hp.learning_rate * max(0.0, 1.0 - done)
    if hp.schedule == "cosine":
        return hp.learning_rate * max(0.0, 0.5 * (1.0 + math.cos(math.pi * done)))
    return hp.learning_rate
