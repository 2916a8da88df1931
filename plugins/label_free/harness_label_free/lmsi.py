"""LMSI (Huang et al. 2022, arXiv 2210.11610): learn the chains that reach the majority's answer."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from harness.api import Example, Prompt, Round, SelfEdit, Session, Trainer, UpdateJob
from harness.errors import RunError, UsageError
from harness_label_free.answering import Answered, Labels, Positive, Sampling, answered, labels, measured, votes

_log = logging.getLogger("harness")
_FIELD = re.compile(r"\{(prompt|question|text|answer)\}")


@dataclass(frozen=True)
class LmsiSettings:
    """What is sampled, and what of it is learnt."""

    rounds: Positive = 1
    """Checkpoints: each samples, votes and learns."""
    contexts: Annotated[int, Field(ge=0)] = 0
    """Questions per round; 0 is all of the split."""
    split: Literal["train", "test"] = "train"
    """Whose questions; with ``test`` the method's card must say transductive."""
    samples: Positive = 32
    """Chains per question."""
    temperature: float = 0.7
    """Sampling temperature; 0 is greedy decoding."""
    top_p: float = 1.0
    """Nucleus sampling: only the most probable tokens that together have this probability are drawn."""
    max_tokens: Positive = 128
    """New tokens per chain."""
    labels: Labels = "majority"
    """``random`` and ``oracle`` are controls."""
    vote: Literal["class", "string"] = "class"
    """Whether answers are counted by what they mean (``class``), or as equal strings."""
    confidence: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Least share of the samples that the majority must have (section 3.2)."""
    keep: Annotated[int, Field(ge=0)] = 0
    """Chains per question, the first ones; 0 keeps all, as the paper does."""
    formats: tuple[tuple[str, str], ...] = (("{prompt}", "{text}"),)
    """Every kept chain is learnt once in each form: prompt and target, in which ``{prompt}`` (as the task asks),
    ``{question}``, ``{text}`` (the chain) and ``{answer}`` are filled in (section 3.3). Conversations take
    ``{prompt}`` alone as their prompt."""


class Lmsi(Trainer):
    """Samples, votes, keeps every chain of the majority's answer, and learns them (slot ``sft``)."""

    Settings = LmsiSettings

    def __init__(self, settings: LmsiSettings) -> None:
        self._settings = settings
        self.rounds = settings.rounds

    def candidates(self, contexts: int, /) -> int:
        own = self._settings
        return own.rounds * own.samples * min(own.contexts or contexts, contexts)

    def run(self, s: Session, /) -> Iterator[Round]:
        """One checkpoint per round.

        Raises:
            UsageError: the split is empty.
            RunError: answers or the update were lost.
        """
        own = self._settings
        episodes = s.episodes(own.split)
        if not episodes:
            raise UsageError(f"trainer 'lmsi' needs questions: the task's split {own.split!r} is empty")
        how = Sampling(own.samples, own.temperature, own.top_p, own.max_tokens)
        for index in range(own.rounds):
            size = own.contexts or len(episodes)
            part = [episodes[(index * size + offset) % len(episodes)] for offset in range(min(size, len(episodes)))]
            groups = answered(s, s.roles["teacher"], part, how, "lmsi", index)
            found = votes(s, groups, own.vote)
            wanted = labels(s, groups, own.labels, own.vote, "lmsi", index)
            known = {g.query.id: label for g, label in zip(groups, wanted, strict=True) if label is not None}
            s.diagnose(f"label, round {index + 1}", known)
            kept = []
            for group, label, majority in zip(groups, wanted, found, strict=True):
                if own.labels != "majority" or majority.share >= own.confidence:
                    kept.append(self._edit(group, label, s))
            edits = [edit for edit in kept if edit.data]
            metrics: dict[str, Any] = {
                **measured(groups, found),
                "questions": len(groups),
                "kept": len(edits),
                "chains": sum(len(edit.actions) for edit in edits),
            }
            metrics |= self._learn(edits, index, s)
            yield Round(index, dict(s.roles), metrics)

    def _edit(self, group: Answered, label: str | None, s: Session) -> SelfEdit:
        agreeing = group.agreeing(label, s)
        chains = [one for one, yes in zip(group.completions, agreeing, strict=True) if yes]
        chains = chains[: self._settings.keep] if self._settings.keep else chains
        data = tuple(
            Example(_prompt(form, one.request.prompt, group, str(label)), _filled(target, one, group, str(label)))
            for one in chains
            for form, target in self._settings.formats
        )
        return SelfEdit(f"{group.query.id}/chains", group.episode.id, data, actions=tuple(chains))

    def _learn(self, edits: Sequence[SelfEdit], index: int, s: Session) -> dict[str, Any]:
        if not edits:
            _log.warning("lmsi, round %d: no chain was kept: the policy stays as it was", index)
            return {"note": "no chain was kept: the policy stays as it was"}
        before = s.roles["teacher"]
        start_as: Literal["merge", "stack"] = "merge" if before.adapters else "stack"
        job = UpdateJob(f"lmsi-{index}", before, tuple(edits), s.seed("lmsi", index), start_as=start_as)
        [done] = s.update("sft", [job])
        if done.status == "error":
            raise RunError(f"lmsi, round {index}: the update was lost: {done.reason}")
        if done.state is None:
            _log.warning("lmsi, round %d: the update failed: %s", index, done.reason)
            return {"note": f"the update failed, the policy stays as it was: {done.reason}"}
        s.roles["teacher"] = done.state
        if before.adapters and before not in s.roles.values():
            s.release([before])
        return {name: done.log[name] for name in ("steps", "loss") if name in done.log}


def _prompt(form: str, prompt: Prompt, group: Answered, label: str) -> Prompt:
    if form == "{prompt}":
        return prompt
    if not isinstance(prompt, str):
        raise UsageError(
            f"trainer.formats: {form!r} is no prompt for a model that is asked in turns; write '{{prompt}}'"
        )
    values = {"prompt": prompt, "question": group.query.text, "answer": label, "text": ""}
    return _FIELD.sub(lambda found: values[found[1]], form)


def _filled(target: str, one: Any, group: Answered, label: str) -> str:
    prompt = one.request.prompt if isinstance(one.request.prompt, str) else ""
    values = {"text": one.text, "answer": label, "question": group.query.text, "prompt": prompt}
    return _FIELD.sub(lambda found: values[found[1]], target)
