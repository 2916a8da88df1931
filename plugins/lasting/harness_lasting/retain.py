"""The updater ``retain``: a LoRA update that is also shown what it must not lose.

Beside the new edit's sequences it learns, as its settings say, sequences of earlier edits (rehearsal), texts that the
model wrote itself before it learnt anything (own words: pseudo-rehearsal, Robins 1995), and the edits' own prompts, the
last two as the untouched model would have continued them (a tether by token-level KL). Or the adapter's weights are
held back, by a penalty or a projection (EWC, O-LoRA, null space; :mod:`harness.engine.restraint` has the formulas).
Nothing here uses a label or an answer: earlier edits come from :attr:`harness.api.UpdateJob.earlier`, everything else
from the model.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, ClassVar, Literal

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
    State,
    Updated,
    UpdateJob,
    Updater,
)
from harness.errors import RunError, UsageError
from harness.updaters.lora import AdapterSettings, blamed, check_adapter_settings, job_settings

Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(ge=0)]
Learnt = Literal["tokens", "start", "base"]
"""How a sequence is learnt: its tokens, or the distributions of the update's start or of the untouched model on it."""


@dataclass(frozen=True)
class RetainSettings(AdapterSettings):
    """A LoRA fine-tune, and what is mixed into its data."""

    rehearse: Share = 0.0
    """Share of the sequences of all earlier edits that an update learns again, drawn anew each time."""
    buffer: Count = 0
    """Earlier edits that are kept for it, the latest ones; 0 is all."""
    rehearse_as: Learnt = "tokens"
    """What is learnt of a rehearsed sequence: its tokens, or what the ``start`` or the ``base`` model says of them."""
    words: Count = 0
    """Texts of the untouched model's own per update: it continues the titles of contexts of the train split."""
    words_as: Learnt = "base"
    """The same for the untouched model's own texts."""
    words_tokens: Annotated[int, Field(ge=1)] = 48
    """Tokens of such a text."""
    words_weight: Weight = 1.0
    """Weight of their tokens beside those of the edit."""
    prompts: Weight = 0.0
    """Weight of the tether on the new edit as it was written: after the prompt that asked for it, passage and all."""
    ewc: Weight = field(default=0.0, metadata={"added_later": True})
    """Weight of the penalty on moving the weights that what is retained depends on; for ``start_as = "continue"``."""
    orthogonal: Weight = field(default=0.0, metadata={"added_later": True})
    """Weight of O-LoRA's penalty on the overlap with the adapters below; for ``start_as = "stack"``."""
    null_space: Share = field(default=0.0, metadata={"added_later": True})
    """Share of the energy of the layers' inputs on what is retained that the new adapter is kept clear of; for
    ``start_as`` ``stack``, ``fold`` or ``merge``."""
    retained: Count = field(default=32, metadata={"added_later": True})
    """Sequences of earlier edits, drawn anew for each update, that ``ewc`` and ``null_space`` are measured on."""
    retained_words: Count = field(default=16, metadata={"added_later": True})
    """Texts of the untouched model's own that they are measured on too."""
    steps: Count = 0
    """Optimiser steps of an update, about: as many epochs as make so many, and one at least. 0 takes ``epochs``."""

    @property
    def measured(self) -> bool:
        """Whether anything is measured on what is retained."""
        return bool(self.ewc or self.null_space)


class Retain(Updater):
    """One adapter per job, all of them in the engine together. Its log says how many sequences came from where."""

    Settings: ClassVar[type] = RetainSettings
    accepts = frozenset({Example, Recipe})
    continues = True
    rehearses = True

    def __init__(self, settings: RetainSettings) -> None:
        check_adapter_settings(settings, "updater retain")
        self._settings = settings

    def apply(self, jobs: Sequence[UpdateJob], s: Session, /) -> Iterator[Updated]:
        """One adapter per job, in order of completion.

        Raises:
            UsageError: a job's settings name something that is no setting, or the model cannot be trained so.
        """
        ours = self._settings
        words = self._words(jobs, s)
        ready, own, counts = [], {}, {}
        for job in jobs:
            if job.start_as == "continue" and (ours.orthogonal or ours.null_space):
                raise UsageError(
                    "updater retain: orthogonal and null_space hold a new adapter back beside earlier ones; set "
                    "protocol.start_as to 'stack' or 'fold'"
                )
            try:
                settings, own[job.id] = job_settings(self._settings, job)
                said = words.get(job.id, [])
                data, counts[job.id] = self._data(job, said[: ours.words], s)
                retained = self._retained(job, said[ours.words :], s)
            except EditFailed as error:
                yield Updated(job.id, None, "failed", str(error), {"cause": "data"})
                continue
            if ours.steps:
                each = -(-len(data) // (int(settings["batch_size"]) * int(settings["grad_accumulation"])))
                settings["epochs"] = max(1, round(ours.steps / each))
            edit = SelfEdit(job.edits[0].id, job.edits[0].episode, tuple(data))
            ready.append(replace(job, edits=(edit,), settings=settings, earlier=(), retained=retained))
        held = {name: getattr(ours, name) for name in ("ewc", "orthogonal", "null_space")}
        for updated in s.fit(ready, loss={"use": "sft", **held} if any(held.values()) else "sft"):
            done = blamed(updated, own[updated.job])
            yield replace(done, log={**done.log, **counts[done.job]})

    def _data(self, job: UpdateJob, words: Sequence[tuple[str, str]], s: Session) -> tuple[list[Data], dict[str, int]]:
        """All sequences of an update, and how many there are of each kind."""
        own = self._settings
        new = [one for one in s.expand(job) if isinstance(one, Example)]
        again = self._earlier(job, s)
        tethered = [
            Distillation(action.request.prompt, action.text, teacher="base", weight=own.prompts)
            for edit in job.edits
            for action in edit.actions
            if own.prompts and action.text.strip()
        ]
        said = [_as(Example(prompt, text, own.words_weight), own.words_as) for prompt, text in words]
        counts = {"new": len(new), "rehearsed": len(again), "words": len(said), "tethered": len(tethered)}
        return [*new, *again, *said, *tethered], counts

    def _earlier(self, job: UpdateJob, s: Session) -> list[Data]:
        """The share of the earlier edits' sequences that is learnt again."""
        own = self._settings
        kept = job.earlier[-own.buffer :] if own.buffer else job.earlier
        if not (own.rehearse and kept):
            return []
        every = [one for one in s.expand(replace(job, edits=kept)) if isinstance(one, Example)]
        chosen = _some(every, max(1, round(own.rehearse * len(every))), job.seed)
        return [_as(one, own.rehearse_as) for one in chosen]

    def _retained(self, job: UpdateJob, words: Sequence[tuple[str, str]], s: Session) -> tuple[Example, ...]:
        """What the restraints are measured on: sequences of earlier edits, and the untouched model's own texts."""
        own = self._settings
        if not own.measured:
            return ()
        every = [one for one in s.expand(replace(job, edits=job.earlier)) if isinstance(one, Example)]
        chosen = _some(every, min(own.retained, len(every)), job.seed)
        return (*chosen, *(Example(prompt, text) for prompt, text in words))

    def _words(self, jobs: Sequence[UpdateJob], s: Session) -> dict[str, list[tuple[str, str]]]:
        """Job -> texts of the untouched model's own, each with the title that it continues."""
        own = self._settings
        count = own.words + (own.retained_words if own.measured else 0)
        titles = [title for episode in s.episodes("train") if (title := str(episode.context.get("title", "")))]
        if not (count and titles and jobs):
            return {}
        asked: list[tuple[str, str, Request]] = []
        for job in jobs:
            rng = random.Random(job.seed)
            for i in range(count):
                prompt = f"{rng.choice(titles)}\n"
                seed = s.seed("words", job.seed, i)
                ask = Request(State(job.start.base), prompt, temperature=1.0, max_tokens=own.words_tokens, seed=seed)
                asked.append((job.id, prompt, ask))
        out: dict[str, list[tuple[str, str]]] = {}
        for (job_id, prompt, _), (completion,) in zip(asked, s.generate([ask for *_, ask in asked]), strict=True):
            if completion.finish == "error":  # an update with fewer of them would be held back less, unseen
                raise RunError(f"own words of job {job_id!r} were lost: {completion.reason or 'no reason given'}")
            if completion.text.strip():
                out.setdefault(job_id, []).append((prompt, completion.text))
        return out


def _some(every: Sequence[Example], count: int, seed: int) -> list[Example]:
    """So many of the examples, drawn from the seed, in their order."""
    return [every[place] for place in sorted(random.Random(seed).sample(range(len(every)), count))]


def _as(one: Example, how: Learnt) -> Data:
    """A sequence as it is to be learnt."""
    return one if how == "tokens" else Distillation(one.prompt, one.target, teacher=how, weight=one.weight)
