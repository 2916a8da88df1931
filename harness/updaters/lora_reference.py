"""The updater ``lora-reference``: SEAL's inner update as published, one adapter at a time through ``peft``.

Every switch of the published code is here (arXiv 2506.10943, appendix B), and nothing is folded or batched across jobs;
``pad_loss = "reference"`` really pads. It is the oracle that the fast updater ``lora`` is tested against, and stays
although it is slow.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from harness.api import EditFailed, Example, Recipe, Session, Updated, UpdateJob, Updater
from harness.errors import UsageError
from harness.models.train_settings import train_settings
from harness.updaters.lora import AdapterSettings, blamed, check_adapter_settings, job_settings


@dataclass(frozen=True)
class ReferenceSettings(AdapterSettings):
    """A LoRA fine-tune as the published code runs it."""

    dropout: float = 0.0
    """Probability of dropping a component of the adapter's input; drawn from the job's seed."""


class LoraReference(Updater):
    """Trains the jobs' adapters one after the other on a borrowed model."""

    Settings: ClassVar[type] = ReferenceSettings
    accepts = frozenset({Example, Recipe})

    def __init__(self, settings: ReferenceSettings) -> None:
        check_adapter_settings(settings, "updater lora-reference")
        if not 0 <= settings.dropout < 1:
            raise UsageError(f"updater lora-reference: dropout must be in [0, 1), not {settings.dropout}")
        self._settings = settings

    def apply(self, jobs: Sequence[UpdateJob], s: Session, /) -> Iterator[Updated]:
        """One adapter per job, in job order.

        Raises:
            UsageError: a job names an unknown setting, or the model cannot be trained with the settings.
        """
        for job in jobs:
            try:
                settings, own = job_settings(self._settings, job)
            except EditFailed as error:
                yield Updated(job.id, None, "failed", str(error), {"cause": "settings"})
            else:
                yield blamed(self._one(job, settings, s), own)

    def _one(self, job: UpdateJob, settings: dict[str, Any], s: Session) -> Updated:
        from harness.models.encode import hyper_parameters
        from harness.updaters.peft_finetune import finetune

        try:
            checked = train_settings(settings, f"job {job.id!r}")
        except EditFailed as error:
            return Updated(job.id, None, "failed", str(error), {"cause": "settings"})
        if checked.keep_optimizer:
            raise UsageError(f"job {job.id!r}: updater lora-reference continues no adapter; leave keep_optimizer off")
        hp = hyper_parameters(checked)
        with s.borrow(job.start) as borrowed:
            try:
                sequences = borrowed.encoder.sequences(s.expand(job), checked)
            except EditFailed as error:
                return Updated(job.id, None, "failed", str(error), {"cause": "data"})
            try:
                adapter, log = finetune(borrowed.module, sequences, hp, job.seed, dropout=self._settings.dropout)
            except ValueError as error:
                raise UsageError(f"updater lora-reference: {error}") from error
        if adapter is None:
            return Updated(job.id, None, "failed", f"diverged in step {log['steps']}", {**log, "cause": "diverged"})
        tensors = {
            f"{module}.lora_{part}.weight": tensor
            for module, pair in adapter.weights.items()
            for part, tensor in zip("AB", pair, strict=True)
        }
        config = {"kind": "lora", "rank": adapter.rank, "alpha": adapter.alpha, "targets": list(adapter.targets)}
        digest = s.store(tensors, config)
        state = dataclasses.replace(job.start, adapters=(*job.start.adapters, digest))
        return Updated(job.id, state, log=log)
