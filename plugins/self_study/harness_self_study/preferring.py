"""The updater ``dpo``: direct preference optimisation with an added likelihood of the preferred answers.

DPO's loss depends on the difference of two log-probabilities only, so it falls as well where both answers become
unlikely and the rejected one more so. The added term is that of iterative reasoning preference optimisation (Pang et
al. 2024, arXiv 2404.19733, eq. 1): the negative log-likelihood of the preferred answer per token.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from harness.api import EditFailed, Preference, Session, Updated, UpdateJob, Updater
from harness.updaters.lora import AdapterSettings, blamed, check_adapter_settings, job_settings

if TYPE_CHECKING:
    from harness.engine import Loss


@dataclass(frozen=True)
class PreferringSettings(AdapterSettings):
    """A LoRA fine-tune on preferences."""

    beta: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.1
    """How much a preference moves the policy away from the model that the update starts from: less with a larger
    one."""
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Assumed share of flipped preferences."""
    likelihood: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    """Weight of the negative log-likelihood of the preferred answers, in nats per token; 0 is DPO alone."""


class Preferring(Updater):
    """Trains one adapter per job on its preferences, on top of the job's start or its last adapter further."""

    Settings: ClassVar[type] = PreferringSettings
    accepts = frozenset({Preference})
    continues = True

    def __init__(self, settings: PreferringSettings) -> None:
        check_adapter_settings(settings, "updater dpo")
        self._settings = settings

    def apply(self, jobs: Sequence[UpdateJob], s: Session, /) -> Iterator[Updated]:
        """One adapter per job, in order of completion.

        Raises:
            UsageError: a job names an unknown setting, or the model cannot be trained with the settings.
        """
        own = self._settings
        ready, asked = [], {}
        for job in jobs:
            try:
                settings, asked[job.id] = job_settings(own, job)
            except EditFailed as error:
                yield Updated(job.id, None, "failed", str(error), {"cause": "settings"})
            else:
                ready.append(dataclasses.replace(job, settings=settings))
        loss: Any = {"use": "dpo", "beta": own.beta, "smoothing": own.smoothing}
        if own.likelihood:
            loss = with_likelihood(own.beta, own.smoothing, own.likelihood)
        for updated in s.fit(ready, loss=loss):
            yield blamed(updated, asked[updated.job])


def with_likelihood(beta: float, smoothing: float, weight: float) -> Loss:
    """The engine's DPO loss plus ``weight`` times the mean negative log-likelihood per token of preferred answers.

    Pairs count by their weights in both terms.
    """
    import torch

    from harness.engine import Dpo

    class DpoWithLikelihood(Dpo):
        def __call__(self, logprobs: Any, sequences: Any, /) -> Any:
            chosen = [
                (logprob.mean(), float(sequence.meta.get("weight", 1.0)))
                for logprob, sequence in zip(logprobs, sequences, strict=True)
                if sequence.meta["chosen"]
            ]
            total = sum(share for _, share in chosen)
            likely = torch.stack([share * mean for mean, share in chosen]).sum() / total
            return super().__call__(logprobs, sequences) - weight * likely

    return DpoWithLikelihood(beta, smoothing)
