"""The updater ``full``: all weights of a model fine-tuned, for continued pretraining (SEAL v2, arXiv 2506.10943v2).

The result is stored whole: a state whose last artefact is a full one runs on those weights, and adapters learnt later
lie on top. One job at a time, since each needs a model of its own; for many small updates use ``lora``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from harness.api import EditFailed, Example, Recipe, Session, Updated, UpdateJob, Updater
from harness.errors import UsageError
from harness.models.loss_curve import thinned
from harness.models.train_settings import FitSettings, check_ranges
from harness.registry.settings import check_settings
from harness.workers.executors import places


@dataclass(frozen=True)
class FullSettings(FitSettings):
    """A full fine-tune. The defaults are those of the published continued-pretraining runs (from their
    logs), except ``pad_loss``."""

    learning_rate: float = 7e-5
    epochs: int = 1
    batch_size: int = 4
    grad_accumulation: int = 2
    warmup_ratio: float = 0.03
    """Share of the steps over which the learning rate rises from 0."""
    devices: str = field(default="", metadata={"added_later": True})
    """Where processes of a group compute it together, each with a whole copy of the model: ``cuda:0,1``, or ``cpu:2``.
    "" is in this process, on the model's own device."""


class Full(Updater):
    """Fine-tunes all weights on a job's edits."""

    Settings: ClassVar[type] = FullSettings
    accepts = frozenset({Example, Recipe})

    def __init__(self, settings: FullSettings) -> None:
        _check(settings, "updater full")
        self._settings = settings

    def apply(self, jobs: Sequence[UpdateJob], s: Session, /) -> Iterator[Updated]:
        """One full set of weights per job, in job order; the model itself is given back as it was.

        Raises:
            UsageError: a job names an unknown setting, or gives one a wrong value.
        """
        for job in jobs:
            try:
                yield self._one(job, s)
            except EditFailed as error:
                yield Updated(job.id, None, "failed", str(error))

    def _one(self, job: UpdateJob, s: Session) -> Updated:
        from harness.engine import full_finetune, full_finetune_together
        from harness.models.encode import hyper_parameters

        settings = self._job_settings(job)
        _check(settings, f"job {job.id!r}")
        with s.borrow(job.start) as borrowed:
            sequences = borrowed.encoder.sequences(s.expand(job), settings)
            steps = settings.epochs * math.ceil(len(sequences) / (settings.batch_size * settings.grad_accumulation))
            hp = hyper_parameters(settings, warmup_steps=math.ceil(settings.warmup_ratio * steps))
            module, plan = borrowed.module, borrowed.plan
            if group := _group(settings, f"job {job.id!r}"):
                done = full_finetune_together(module, sequences, hp, group, seed=job.seed, plan=plan)
            else:
                try:
                    done = full_finetune(module, sequences, hp, seed=job.seed, plan=plan)
                except ValueError as error:
                    raise UsageError(f"updater full: {error}") from error
        log: dict[str, Any] = {
            "steps": done.steps,
            "tokens": done.tokens,
            "seconds": done.seconds,
            "loss": done.losses[-1] if done.status == "ok" else None,
            "losses": thinned(done.losses),
        }
        if done.reduced:
            log["reduced"] = True
        if done.weights is None:
            # No edit chooses its settings here, so failed training is ours.
            return Updated(job.id, None, "error", done.reason, log)
        digest = s.store(done.weights, {"kind": "full"})
        return Updated(job.id, dataclasses.replace(job.start, adapters=(*job.start.adapters, digest)), log=log)

    def _job_settings(self, job: UpdateJob) -> FullSettings:
        """The updater's settings with the job's own on top."""
        asked = next((edit for edit in job.edits if edit.settings), None)
        if asked is not None:
            raise EditFailed(f"settings: edit {asked.id!r} chooses its own, which a full fine-tune does not allow")
        found = check_settings(
            FullSettings, {**vars(self._settings), **job.settings}, f"job {job.id!r}", "updater 'full'"
        )
        assert isinstance(found, FullSettings)
        return found


def _check(settings: FullSettings, where: str) -> None:
    """Raise :class:`UsageError` for a value that cannot be trained with."""
    _group(settings, where)
    if not 0 <= settings.warmup_ratio <= 1:
        raise UsageError(f"{where}: warmup_ratio must be in [0, 1], not {settings.warmup_ratio!r}")
    try:
        check_ranges(settings)
    except EditFailed as error:
        raise UsageError(f"{where}: {str(error).removeprefix('settings: ')}") from error


def _group(settings: FullSettings, where: str) -> list[str]:
    """The device of each process of the group; none where there is no group."""
    if not settings.devices:
        return []
    try:
        named = places(settings.devices)
    except UsageError:
        raise UsageError(f"{where}: devices {settings.devices!r}: write cuda:0,1 (these GPUs) or cpu:2") from None
    return [f"cuda:{i}" for i in range(len(named))] if named[0] == "cuda" else named
