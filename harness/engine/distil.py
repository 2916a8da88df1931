"""Token-level distillation: a sequence's targets are a teacher's distributions instead of the tokens themselves.

The teacher is the same base under any adapters, reading any prompt, so it has the student's vocabulary. If the teacher
sees a passage, this is context distillation (Snell et al. 2022, arXiv 2209.15189); on the student's own samples it is
self-distillation (arXiv 2601.19897); with the same prompt and the bare base it keeps the student close to the base.
Only the most probable tokens at each position are kept, and all others count as one further outcome. So the divergence
is a lower bound of the exact one, and 0 exactly where both agree on the tokens kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .attention import PackedAttention
from .forward import FrozenModel
from .jobs import TrainSequence
from .losses import targets
from .memory import MemoryPlan
from .score import ScoreRow, packs

_LEAST = 1e-6
"""Lower bound of the probability of the outcomes that are not kept, so that its logarithm stays finite."""


@dataclass(frozen=True)
class Distribution:
    """A teacher's distribution at each target of a sequence.

    `ids` `[targets, k]` (int64) are its k most probable tokens there, `logprobs` `[targets, k]` (fp32) the natural
    logarithms of their probabilities. Both lie on the CPU.
    """

    ids: Tensor
    logprobs: Tensor

    def last(self, count: int) -> Distribution:
        """The distributions of the last `count` targets."""
        return Distribution(self.ids[len(self.ids) - count :], self.logprobs[len(self.logprobs) - count :])


def teacher_of(sequence: TrainSequence) -> Distribution | None:
    """The teacher of a sequence, in `meta["teacher"]`; None where it learns its own tokens.

    Raises:
        ValueError: it is not a `Distribution`.
    """
    found = sequence.meta.get("teacher")
    if found is not None and not isinstance(found, Distribution):
        raise ValueError(f"meta['teacher'] must be a Distribution, not a {type(found).__name__}")
    return found


def problem(sequences: Sequence[TrainSequence]) -> str:
    """Why these sequences cannot be learnt from their teachers; "" where they can."""
    for i, sequence in enumerate(sequences):
        teacher = teacher_of(sequence)
        wanted = len(targets(sequence))
        if teacher is not None and not (len(teacher.ids) == wanted and teacher.ids.shape == teacher.logprobs.shape):
            shapes = f"{list(teacher.ids.shape)} and {list(teacher.logprobs.shape)}"
            return f"the teacher of sequence {i} has shapes {shapes}, but the sequence has {wanted} targets"
    return ""


def divergence(logits: Tensor, teacher: Distribution) -> Tensor:
    """KL(teacher || student) in nats at every target, `[targets]`, from the student's logits `[targets, vocab]` (fp32).

    It is the sum of p log(p / q) over the k tokens that the teacher names, and over one more outcome, which has the
    remaining probability of either.
    """
    named = teacher.logprobs.to(logits.device)
    own = logits.log_softmax(-1).gather(1, teacher.ids.to(logits.device))
    found = (named.exp() * (named - own)).sum(-1)
    if named.shape[1] == logits.shape[1]:
        return found
    rest = (1 - named.exp().sum(-1)).clamp(min=0.0)
    own_rest = (1 - own.exp().sum(-1)).clamp(min=_LEAST)
    return found + torch.where(rest > _LEAST, rest * (rest.clamp(min=_LEAST).log() - own_rest.log()), 0.0)


def distributions(frozen: FrozenModel, plan: MemoryPlan, rows: Sequence[ScoreRow], top: int) -> list[Distribution]:
    """The `top` most probable tokens of each row's model at every token of its continuation, in the order of `rows`.

    As in `logprobs`, the first token after an empty prompt has no distribution.

    Raises:
        ValueError: `top` is less than 1.
    """
    if top < 1:
        raise ValueError(f"top must be at least 1, got {top}")
    top = min(top, int(frozen.model.config.vocab_size))
    texts = [row.prompt + row.continuation for row in rows]
    out = [Distribution(torch.empty(0, top, dtype=torch.long), torch.empty(0, top)) for _ in rows]
    with torch.inference_mode():
        for pack in packs(frozen, plan, texts, [row.adapters for row in rows]):
            keep: list[int] = []
            counts: list[int] = []
            at = 0
            for i in pack.rows:
                places = range(max(len(rows[i].prompt), 1), len(texts[i]))
                keep.extend(at + place - 1 for place in places)
                counts.append(len(places))
                at += len(texts[i])
            if not keep:
                continue
            attend = PackedAttention(pack.lengths, device=frozen.device)
            logits = frozen.logits(pack.ids, pack.positions, attend, pack.parts, keep)
            found = logits.float().log_softmax(-1).topk(top, dim=-1)
            ids, values = found.indices.cpu(), found.values.cpu()
            parts = zip(pack.rows, torch.split(ids, counts), torch.split(values, counts), strict=True)
            for i, tokens, logprobs in parts:
                out[i] = Distribution(tokens.clone(), logprobs.clone())
    return out
