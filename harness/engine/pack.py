"""Training sequences laid out as one packed row: token ids, positions, and the target of each logit that is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from .attention import PackedAttention
from .distil import Distribution, divergence, teacher_of
from .forward import FrozenModel
from .jobs import TrainSequence
from .linear import Parts
from .prepare import pad_nodes, pad_positions, pad_targets


@dataclass
class Pack:
    """The sequences of one forward. `weights` are normalised already: a job's loss is the weighted sum over its
    targets."""

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    nodes: list[int] = field(default_factory=list)
    reach: int = 0
    keep: list[int] = field(default_factory=list)
    wanted: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    taught: list[tuple[int, Distribution]] = field(default_factory=list)
    """Teachers, each with the index of its first target in `keep`."""

    def add(
        self, sequence: TrainSequence, targets: Sequence[int], weights: Sequence[float], total: float, draw: str
    ) -> None:
        """Append a sequence with its `targets` and their `weights`, which are divided by `total`.

        `draw` seeds the choice of the padding positions that represent all of them (see `Padding`).
        """
        at, length, nodes = len(self.ids), len(sequence.ids), pad_nodes(sequence)
        self.ids.extend(sequence.ids)
        self.positions.extend(range(length))
        teacher = teacher_of(sequence)
        if teacher is not None:
            self.taught.append((len(self.keep), teacher))
        self.keep.extend(at + t - 1 for t in targets)
        self.wanted.extend(sequence.ids[t] for t in targets)
        self.weights.extend(weight / total for weight in weights)
        if sequence.padding is not None and pad_targets(sequence):
            places = pad_positions(length, sequence.padding.to, nodes, draw)
            self.ids.extend([sequence.padding.token] * nodes)
            self.positions.extend(places)
            self.keep.extend(range(at + length - 1, at + length + nodes))
            self.wanted.extend([sequence.padding.token] * (nodes + 1))
            self.weights.append(1 / total)
            self.weights.extend([(pad_targets(sequence) - 1) / nodes / total] * nodes)
            self.reach = max(self.reach, *places, 0)
        self.lengths.append(length)
        self.nodes.append(nodes)

    def losses(self, frozen: FrozenModel, parts: Parts) -> tuple[Tensor, Tensor]:
        """Run one forward; returns the loss of every target `[targets]`, and the targets' weights `[targets]`.

        The loss is the cross-entropy of the target, or the divergence from a teacher where the sequence has one.
        """
        attend = PackedAttention(self.lengths, self.nodes, self.reach, frozen.device)
        logits = frozen.logits(self.ids, self.positions, attend, parts, self.keep, grad=True).float()
        losses = F.cross_entropy(logits, torch.tensor(self.wanted, device=logits.device), reduction="none")
        for depth in sorted({teacher.ids.shape[1] for _, teacher in self.taught}):
            mine = [(at, teacher) for at, teacher in self.taught if teacher.ids.shape[1] == depth]
            places = torch.cat([torch.arange(at, at + len(teacher.ids)) for at, teacher in mine]).to(logits.device)
            teacher = Distribution(torch.cat([t.ids for _, t in mine]), torch.cat([t.logprobs for _, t in mine]))
            losses = losses.index_copy(0, places, divergence(logits[places], teacher))
        return losses, torch.tensor(self.weights, device=logits.device)
