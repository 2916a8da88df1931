"""The updater ``lora``: one LoRA adapter per job, all of them trained together by the engine.

A setting is looked up in the job's edits, then in the job, then in the updater. What an edit asks for itself is the
method's doing: a value out of range, or divergence under it, is ``failed``. Divergence under our settings is ``error``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from harness.api import (
    Distillation,
    EditFailed,
    Example,
    Preference,
    Recipe,
    Rollout,
    Session,
    Updated,
    UpdateJob,
    Updater,
)
from harness.errors import UsageError
from harness.models.loss_settings import GrpoSettings, LossSettings, plain
from harness.models.train_settings import TrainSettings, check_ranges, train_settings


@dataclass(frozen=True)
class AdapterSettings(TrainSettings):
    """A LoRA fine-tune, and what a self-edit may decide about it."""

    own: tuple[str, ...] = ("learning_rate", "epochs", "loss_on")
    """Settings that an edit may choose for itself, as SEAL's ARC edits do; any other fails the edit."""
    own_max_learning_rate: float = 1.0
    """Highest learning rate that an edit may choose."""
    own_max_epochs: int = 100
    """Most epochs that an edit may choose."""


@dataclass(frozen=True)
class LoraSettings(AdapterSettings):
    """A LoRA fine-tune in the batched engine."""

    loss: LossSettings = "sft"
    """``sft`` learns from examples and distillations, ``dpo`` from preferences, ``grpo`` and ``rloo`` from rollouts.
    One with settings of its own is a table, such as ``{use = "grpo", clip_high = 0.28}``; see
    :mod:`harness.models.loss_settings`."""


class Lora(Updater):
    """Trains one adapter per job, in bulk: a new one on top of the job's start, or the start's last one further."""

    Settings: ClassVar[type] = LoraSettings
    accepts = frozenset({Example, Distillation, Preference, Rollout, Recipe})
    continues = True

    def __init__(self, settings: LoraSettings) -> None:
        check_adapter_settings(settings, "updater lora")
        self._settings = settings
        if isinstance(settings.loss, GrpoSettings) and 0 < settings.loss.dual_clip <= 1:
            raise UsageError(
                f"updater lora.loss.dual_clip must be more than 1, or 0 for none, not {settings.loss.dual_clip:g}"
            )

    def apply(self, jobs: Sequence[UpdateJob], s: Session, /) -> Iterator[Updated]:
        """One adapter per job, in order of completion.

        Raises:
            UsageError: a job names an unknown setting, or the model cannot be trained with the settings.
        """
        ready, own = [], {}
        for job in jobs:
            try:
                settings, own[job.id] = job_settings(self._settings, job)
            except EditFailed as error:
                yield Updated(job.id, None, "failed", str(error), {"cause": "settings"})
            else:
                ready.append(dataclasses.replace(job, settings=settings))
        for updated in s.fit(ready, loss=plain(self._settings.loss)):
            yield blamed(updated, own[updated.job])


def check_adapter_settings(settings: AdapterSettings, where: str) -> None:
    """Raise :class:`UsageError` for values that no job could be trained with."""
    try:
        check_ranges(settings)
    except EditFailed as error:
        raise UsageError(f"{where}: {str(error).removeprefix('settings: ')}") from error
    unknown = sorted(set(settings.own) - set(_names()))
    if unknown:
        raise UsageError(f"{where}.own: {unknown[0]!r} is not a training setting; these are: {', '.join(_names())}")


def job_settings(settings: AdapterSettings, job: UpdateJob) -> tuple[dict[str, Any], bool]:
    """A job's complete training settings, and whether its edits decided any of them.

    Raises:
        EditFailed: an edit chooses a setting that it may not, a value out of range, or contradicts another edit of the
            job.
        UsageError: the job itself names an unknown setting, or gives one a wrong value.
    """
    ours = {name: getattr(settings, name) for name in _names()} | dict(job.settings)
    asked: dict[str, Any] = {}
    for edit in job.edits:
        for name, value in edit.settings.items():
            if name not in settings.own:
                raise EditFailed(f"settings: an edit may not choose {name!r}; it may choose {', '.join(settings.own)}")
            if asked.setdefault(name, value) != value:
                raise EditFailed(f"settings: the edits of one update ask for {name} {asked[name]!r} and {value!r}")
    _check_own(settings, asked)
    complete = ours | asked
    if asked:
        train_settings(complete, f"job {job.id!r}")
    return complete, bool(asked)


def blamed(updated: Updated, own: bool) -> Updated:
    """The outcome with failed training blamed on whoever chose its settings: ``failed`` where the job's edits did
    (``own``), else ``error``."""
    ours = updated.status == "failed" and updated.log.get("cause") in ("diverged", "settings") and not own
    return dataclasses.replace(updated, status="error") if ours else updated


def _names() -> list[str]:
    return [field.name for field in dataclasses.fields(TrainSettings)]


def _check_own(settings: AdapterSettings, asked: Mapping[str, Any]) -> None:
    """Limits on what an edit may ask for: they keep a model from buying its score with our time."""
    for name, highest in (("learning_rate", settings.own_max_learning_rate), ("epochs", settings.own_max_epochs)):
        value = asked.get(name)
        if value is None and name not in asked:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise EditFailed(f"settings: {name} must be a number, not {value!r:.40}")
        if value > highest:
            raise EditFailed(f"settings: {name} may be at most {highest:g}, not {value!r:.40}")
