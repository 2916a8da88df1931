"""The updater ``osf``: orthogonal subspace fine-tuning (Nayak et al. 2025, arXiv 2504.07097), as peft has it.

The singular directions of a weight with the largest values are frozen and hold what the model knows; the others are
trained, with gradients kept orthogonal to the frozen ones. Every update takes the singular directions anew, of the
weights that it starts from. Their change has a rank of twice what is trained, so that it is stored as a LoRA adapter
on top of the start. One job at a time through ``peft``, as in the updater ``lora-reference``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from harness.api import EditFailed, Example, Recipe, Session, Updated, UpdateJob, Updater
from harness.errors import UsageError
from harness.models.train_settings import FitSettings, check_ranges


@dataclass(frozen=True)
class OsfSettings(FitSettings):
    """A fine-tune of a weight's smaller singular directions."""

    targets: str | tuple[str, ...] = "all-linear"
    """``qv``, ``all-linear``, or a list of module suffixes."""
    kept: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of each weight's singular directions that is frozen (peft's ``effective_rank``)."""


class Osf(Updater):
    """One adapter per job, whose rank is twice the number of trained directions."""

    Settings: ClassVar[type] = OsfSettings
    accepts = frozenset({Example, Recipe})

    def __init__(self, settings: OsfSettings) -> None:
        try:
            check_ranges(settings)
        except EditFailed as error:
            raise UsageError(f"updater osf: {str(error).removeprefix('settings: ')}") from error
        self._settings = settings

    def apply(self, jobs: Sequence[UpdateJob], s: Session, /) -> Iterator[Updated]:
        """One adapter per job, in job order. Settings of jobs and edits are refused: the job ends as ``failed``."""
        for job in jobs:
            asked = job.settings or next((edit.settings for edit in job.edits if edit.settings), {})
            if asked:
                yield Updated(job.id, None, "failed", f"settings: {next(iter(asked))!r} cannot be chosen for osf")
                continue
            try:
                yield self._one(job, s)
            except EditFailed as error:
                yield Updated(job.id, None, "failed", str(error), {"cause": "data"})

    def _one(self, job: UpdateJob, s: Session) -> Updated:
        from peft import OSFConfig, get_peft_model

        from harness.engine import resolve_targets
        from harness.models.encode import hyper_parameters
        from harness.updaters.peft_finetune import fit, seeded

        own, hp = self._settings, hyper_parameters(self._settings)
        with s.borrow(job.start) as borrowed, seeded(job.seed):
            sequences = borrowed.encoder.sequences(s.expand(job), own)
            try:
                names, suffixes = resolve_targets(borrowed.module, hp.targets)
            except ValueError as error:
                raise UsageError(f"updater osf: {error}") from error
            model: Any = get_peft_model(borrowed.module, OSFConfig(effective_rank=own.kept, target_modules=[*names]))
            try:
                trained = [one for one in model.parameters() if one.requires_grad]
                finite, log = fit(model.train(), trained, sequences, hp, job.seed)
                changes = {name: _factors(model.get_submodule(f"base_model.model.{name}")) for name in names}
            finally:
                model.unload()
        if not finite or not all(tensor.isfinite().all() for pair in changes.values() for tensor in pair):
            reason = f"diverged in step {log['steps']}"
            return Updated(job.id, None, "error", reason, {**log, "loss": None, "cause": "diverged"})
        rank = max(len(a) for a, _ in changes.values())
        tensors = {}
        for name, (a, b) in changes.items():
            tensors[f"{name}.lora_A.weight"] = _padded(a, rank, 0)
            tensors[f"{name}.lora_B.weight"] = _padded(b, rank, 1)
        digest = s.store(tensors, {"kind": "lora", "rank": rank, "alpha": rank, "targets": list(suffixes)})
        return Updated(job.id, dataclasses.replace(job.start, adapters=(*job.start.adapters, digest)), log=log)


def _factors(layer: Any) -> tuple[Any, Any]:
    """The change of a layer's weight as A `[2 r, in]` and B `[out, 2 r]`: trained directions less those at the
    start."""
    import torch

    now = layer.osf_svd_params["default"]
    u, s, v = (getattr(layer, f"_osf_{part}_low_init")["default"] for part in "USV")
    a, start = torch.cat([now["V_low"], v]), u * s
    return a.detach().float(), torch.cat([now["U_low"] * now["S_low"], -start], dim=1).detach().float()


def _padded(tensor: Any, rank: int, dim: int) -> Any:
    """The tensor with zeros appended along one side, up to the rank."""
    import torch

    shape = list(tensor.shape)
    shape[dim] = rank - shape[dim]
    return torch.cat([tensor, tensor.new_zeros(shape)], dim=dim)
