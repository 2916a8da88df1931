"""The updater ``full``: all weights of a model fine-tuned, for continued pretraining (SEAL v2, arXiv 2506.10943v2).

The result is stored whole: a state whose last artefact is a full one runs on those weights, and adapters learnt later
lie on top. One job at a time, since each needs a model of its own; for many small updates use ``lora``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from harness.api import EditFailed, Example, Recipe, Session, Updated, UpdateJob
from harness.errors import UsageError
from harness.models.train_settings import TrainSettings, check_ranges
from harness.registry.settings import check_settings


@dataclass(frozen=True)
class FullSettings:
    """A full fine-tune. Defaults: the published continued-pretraining runs (its logs), save ``pad_loss``."""

    learning_rate: float = 7e-5
    epochs: int = 1
    batch_size: int = 4
    grad_accumulation: int = 2
    weight_decay: float = 0.0
    clip: float = 1.0
    """Largest norm of the gradient; 0 is none."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """``linear`` and ``cosine`` decay to 0."""
    warmup_ratio: float = 0.03
    """Share of the steps in which the rate rises from 0."""
    pad_loss: Literal["reference", "single_eos", "none"] = "single_eos"
    """What follows a sequence; see the updater ``lora``. The published runs use ``reference``."""
    pad_nodes: int = 32
    loss_on: Literal["target", "all"] = "target"
    """Whether prompts are in the loss too."""
    max_length: int = 2048
    """Tokens of the longest sequence; a longer one fails the job. The model's own limit holds as well."""


class Full:
    """Fine-tunes all weights on a job's edits."""

    Settings: ClassVar[type] = FullSettings
    accepts: ClassVar[frozenset[type]] = frozenset({Example, Recipe})

    def __init__(self, settings: FullSettings) -> None:
        _train_settings(settings, "updater full")
        self._settings = settings

    def apply(self, jobs: Sequence[UpdateJob], s: Session, /) -> Iterator[Updated]:
        """One full set of weights a job, in job order; the model itself is given back as it was.

        Raises:
            UsageError: a job's settings name something that is no setting, or have a wrong value.
        """
        for job in jobs:
            try:
                yield self._one(job, s)
            except EditFailed as error:
                yield Updated(job.id, None, "failed", str(error))

    def _one(self, job: UpdateJob, s: Session) -> Updated:
        from harness.engine import full_finetune
        from harness.models.encode import hyper_parameters

        settings = self._job_settings(job)
        training = _train_settings(settings, f"job {job.id!r}")
        with s.borrow(job.start) as borrowed:
            sequences = borrowed.encoder.sequences(s.expand(job), training)
            steps = settings.epochs * math.ceil(len(sequences) / (settings.batch_size * settings.grad_accumulation))
            hp = dataclasses.replace(hyper_parameters(training), warmup_steps=math.ceil(settings.warmup_ratio * steps))
            done = full_finetune(borrowed.module, sequences, hp, seed=job.seed, plan=borrowed.plan)
        log: dict[str, Any] = {
            "steps": done.steps,
            "tokens": done.tokens,
            "seconds": done.seconds,
            "loss": done.losses[-1] if done.status == "ok" else None,
        }
        if done.reduced:
            log["reduced"] = True
        if done.weights is None:
            # No edit chooses its own settings here, so what failed in training is ours.
            return Updated(job.id, None, "error", done.reason, log)
        digest = s.store(done.weights, {"kind": "full"})
        return Updated(job.id, dataclasses.replace(job.start, adapters=(*job.start.adapters, digest)), log=log)

    def _job_settings(self, job: UpdateJob) -> FullSettings:
        """The updater's settings with the job's own on top."""
        if job.replay is not None:
            raise UsageError(f"job {job.id!r}: this updater mixes in no replay corpus; leave UpdateJob.replay empty")
        asked = next((edit for edit in job.edits if edit.settings), None)
        if asked is not None:
            raise EditFailed(f"settings: edit {asked.id!r} chooses settings, and a full fine-tune lets no edit do so")
        ours = {field.name: getattr(self._settings, field.name) for field in dataclasses.fields(FullSettings)}
        found = check_settings(FullSettings, {**ours, **job.settings}, f"job {job.id!r}", "updater 'full'")
        assert isinstance(found, FullSettings)
        return found


def _train_settings(settings: FullSettings, where: str) -> TrainSettings:
    """The part that all fine-tunes share, for the encoder.

    Raises:
        UsageError: a value that cannot be trained with.
    """
    if not 0 <= settings.warmup_ratio <= 1:
        raise UsageError(f"{where}: warmup_ratio must be in [0, 1], not {settings.warmup_ratio!r}")
    shared = {field.name for field in dataclasses.fields(TrainSettings)} & set(vars(settings))
    training = TrainSettings(**{name: getattr(settings, name) for name in sorted(shared)})
    try:
        check_ranges(training)
    except EditFailed as error:
        raise UsageError(f"{where}: {str(error).removeprefix('settings: ')}") from error
    return training
