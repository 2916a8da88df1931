"""The updater ``on-policy``: distillation on the student's own samples, drawn anew as it learns (arXiv 2601.19897).

A student that learns a teacher's distributions on fixed texts is taught what to say after words that it would not have
said. Here an update has several rounds: the model as it is by then, without the passage, writes its own continuation of
every prompt, and learns what the teacher, with the passage in view, would have said at each token of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

from pydantic import Field

from harness.api import (
    Data,
    Distillation,
    EditFailed,
    Example,
    Recipe,
    Request,
    SelfEdit,
    Session,
    Updated,
    UpdateJob,
    Updater,
)
from harness.updaters.lora import AdapterSettings, blamed, check_adapter_settings, job_settings


@dataclass(frozen=True)
class OnPolicySettings(AdapterSettings):
    """A LoRA fine-tune in rounds, and how the student's own samples are drawn."""

    rounds: Annotated[int, Field(ge=1)] = 3
    """Times that the student writes; the epochs of the update are divided among them, one each at least."""
    samples: Annotated[int, Field(ge=1)] = 1
    """Own samples per prompt and round."""
    temperature: float = 1.0
    """Sampling temperature; 0 is greedy decoding."""
    max_tokens: Annotated[int, Field(ge=1)] = 16
    """New tokens per sample."""


class OnPolicy(Updater):
    """One adapter per job, trained in rounds; every other kind of data than distillations is learnt in each round.

    The teacher is the model that the update starts from; where that has adapters already (in a chain of updates), it is
    the student at the start of each round. The optimiser begins anew with each round unless ``keep_optimizer`` is set.
    The log's ``own`` counts the samples,
    ``empty`` those without text, for which the edit's own target is learnt.
    """

    Settings: ClassVar[type] = OnPolicySettings
    accepts = frozenset({Distillation, Example, Recipe})
    continues = True

    def __init__(self, settings: OnPolicySettings) -> None:
        check_adapter_settings(settings, "updater on-policy")
        self._settings = settings

    def apply(self, jobs: Sequence[UpdateJob], s: Session, /) -> Iterator[Updated]:
        """One adapter per job; all jobs go through a round together.

        Raises:
            UsageError: a job's settings name something that is no setting, or the model cannot be trained so.
        """
        own = self._settings
        data: dict[str, list[Data]] = {}
        blame: dict[str, bool] = {}
        ready: dict[str, UpdateJob] = {}
        logs: dict[str, dict[str, Any]] = {}
        for job in jobs:
            try:
                settings, blame[job.id] = job_settings(own, job)
                data[job.id] = list(s.expand(job))
            except EditFailed as error:
                yield Updated(job.id, None, "failed", str(error), {"cause": "data"})
                continue
            settings["epochs"] = max(1, round(int(settings["epochs"]) / own.rounds))
            ready[job.id] = replace(job, settings=settings)
            logs[job.id] = {"steps": 0, "tokens": 0, "seconds": 0.0, "own": 0, "empty": 0}
        bare = {name for name, job in ready.items() if not job.start.adapters}
        for place in range(own.rounds):
            written, lost = self._written(ready, data, place, s)
            for name, why in lost.items():  # ours, and not an edit that nothing could be sampled for
                yield Updated(name, None, "error", why, logs[name])
                del ready[name]
            given = [
                self._job(job, data[name], written[name], logs[name], bare=name in bare) for name, job in ready.items()
            ]
            for updated in s.fit(given):
                done = blamed(updated, blame[updated.job])
                log = logs[done.job]
                for name in ("steps", "tokens", "seconds"):
                    log[name] += done.log.get(name, 0)
                log = logs[done.job] = {**done.log, **log}
                if done.state is None or place == own.rounds - 1:
                    yield replace(done, log=log)
                    del ready[done.job]
                else:
                    ready[done.job] = replace(ready[done.job], start=done.state, start_as="continue")

    def _written(
        self, ready: Mapping[str, UpdateJob], data: Mapping[str, Sequence[Data]], place: int, s: Session
    ) -> tuple[dict[str, dict[int, list[str]]], dict[str, str]]:
        """Job -> place of a distillation -> the student's own continuations of its prompt; and
        job -> why one was lost."""
        own = self._settings
        asked: list[tuple[str, int, Request]] = []
        for name, job in ready.items():
            for at, one in enumerate(data[name]):
                if isinstance(one, Distillation):
                    seed = s.seed("own samples", job.seed, place, at)
                    ask = Request(
                        job.start, one.prompt, own.samples, own.temperature, max_tokens=own.max_tokens, seed=seed
                    )
                    asked.append((name, at, ask))
        out: dict[str, dict[int, list[str]]] = {name: {} for name in ready}
        lost: dict[str, str] = {}
        for (name, at, _), row in zip(asked, s.generate([ask for *_, ask in asked]) if asked else (), strict=True):
            out[name][at] = [one.text if one.finish in ("stop", "length") else "" for one in row]
            for sample in row:
                if sample.finish == "error":
                    lost[name] = sample.reason or "a sample was lost"
        return out, lost

    def _job(
        self, job: UpdateJob, data: Sequence[Data], written: Mapping[int, Sequence[str]], log: Any, *, bare: bool
    ) -> UpdateJob:
        given: list[Data] = []
        for at, one in enumerate(data):
            if not isinstance(one, Distillation):
                given.append(one)
                continue
            if bare:
                one = replace(one, teacher="base")
            for text in written[at]:
                log["own"] += 1
                log["empty"] += not text.strip()
                given.append(replace(one, target=text) if text.strip() else one)
        edit = SelfEdit(job.edits[0].id, job.edits[0].episode, tuple(given))
        return replace(job, edits=(edit,))
