"""What holds one job's adapter back while it learns, so that it keeps what it could do.

All three are settings of the loss :class:`harness.engine.losses.Sft`. They act on one slot of the bank at an optimiser
step's end, so jobs without any pay nothing, and neighbours are not touched.

* ``ewc``: adds lambda / 2 * sum F (w - w*)^2 to the loss (Kirkpatrick et al. 2017, arXiv 1612.00796, eq. 3). w* is the
  adapter that the job starts from, F the diagonal empirical Fisher there: the mean over the job's `retained` sequences
  of the squared gradient of a sequence's loss. F is divided by its mean within each A and each B, since their gradients
  differ by orders of magnitude, and one common scale would switch the penalty off for all but the largest.
* ``orthogonal``: adds lambda * sum |A_old A^T| over all modules (O-LoRA, Wang et al. 2023, arXiv 2310.14152), where
  A_old are the rows of all adapters below. B is free.
* ``null_space``: after every step A <- A (I - U U^T), where U spans the directions of most energy among the inputs that
  the module has on the `retained` sequences (after Wang et al. 2021, arXiv 2103.07113, and Fang et al. 2024, arXiv
  2410.02355, which project the change of a full weight). The setting is the share of energy that U has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .adapter import Adapter, Weights
from .attention import PackedAttention
from .bank import Banks, Rows, adapted_groups
from .forward import FrozenModel
from .jobs import TrainSequence
from .losses import Sft
from .memory import MemoryPlan
from .pack import Pack
from .prepare import Prepared, cost, pad_targets
from .score import packs


@dataclass
class Restraint:
    """The restraints of one slot. ``fisher`` and ``anchor`` are a row `[n]` of each bank's layout, or none."""

    loss: Sft
    fisher: Sequence[Tensor] = ()
    anchor: Sequence[Tensor] = ()
    below: Mapping[str, Tensor] = field(default_factory=dict)
    """Module -> the As of all adapters below, `[sum of their ranks, in]`."""
    kept: Mapping[str, Tensor] = field(default_factory=dict)
    """Module -> U `[in, k]` with orthonormal columns."""

    def pull(self, banks: Banks, slot: int) -> Tensor:
        """Add the penalties' gradient to the slot's; returns their value, a scalar on the first device."""
        value = banks.values[0].new_zeros(())
        rows = zip(self.fisher, self.anchor, banks.values, banks.gradients, strict=True) if self.fisher else ()
        for fisher, anchor, values, gradients in rows:
            moved = values[slot] - anchor
            pulled = self.loss.ewc * fisher * moved
            gradients[slot].add_(pulled)
            value = value + ((pulled * moved).sum() / 2).to(value.device)
        for bank in banks.each if self.below else ():
            assert bank.gradients is not None
            into = bank.modules(bank.gradients, slot)
            for name, (a, _) in bank.modules(bank.masters, slot).items():
                if name in self.below:
                    overlap = self.below[name] @ a.t()
                    into[name][0].add_(overlap.sign().t() @ self.below[name], alpha=self.loss.orthogonal)
                    value = value + (self.loss.orthogonal * overlap.abs().sum()).to(value.device)
        return value

    def project(self, banks: Banks, slot: int) -> None:
        """Take the kept directions out of the slot's As."""
        for bank in banks.each if self.kept else ():
            for name, (a, _) in bank.modules(bank.masters, slot).items():
                a.sub_(a @ self.kept[name] @ self.kept[name].t())


def restraint(frozen: FrozenModel, plan: MemoryPlan, work: Prepared, banks: Banks, slot: int) -> Restraint | None:
    """The restraints of a job that was put into a slot; None where it has none. A null-space job's A is projected."""
    loss, job = work.loss, work.job
    if not isinstance(loss, Sft) or not loss.restrains:
        return None
    made = Restraint(loss)
    if loss.ewc and job.retained:
        found = fisher(frozen, plan, job.stack, work.start, job.retained)
        rows = [torch.zeros_like(values[:1]) for values in banks.values]
        for bank, row in zip(banks.each, rows, strict=True):
            bank.write(Rows(row, bank.groups, bank.rank), 0, found)
        made.fisher, made.anchor = [row[0] for row in rows], [values[slot].clone() for values in banks.values]
    if loss.orthogonal and job.stack:
        made.below = {
            name: torch.cat([one.weights[name][0] for one in job.stack if name in one.weights]).to(bank.device)
            for bank in banks.each
            for members in bank.groups.values()
            for name in members
            if name in work.start.weights and any(name in one.weights for one in job.stack)
        }
    if loss.null_space and job.retained:
        made.kept = directions(frozen, plan, job.stack, tuple(work.start.weights), job.retained, loss.null_space)
        made.project(banks, slot)
        banks.refresh(slot)
    return made


def fisher(
    frozen: FrozenModel, plan: MemoryPlan, stack: Sequence[Adapter], adapter: Adapter, texts: Sequence[TrainSequence]
) -> Weights:
    """The diagonal of the empirical Fisher of an adapter's weights, with mean 1 over each A and each B.

    A sequence is one sample, and its loss the weighted mean over its targets. A matrix without any gradient has 0.
    """
    groups = adapted_groups(frozen.groups, list(adapter.weights))
    slots = min(plan.slots, len(texts))
    banks = Banks(slots, groups, adapter.rank, places=frozen.places, dtype=frozen.dtype, trains=True)
    for slot in range(slots):
        banks.put(slot, (adapter,))
    below = frozen.bank([tuple(stack)])
    totals = [torch.zeros_like(gradients[:1]) for gradients in banks.gradients]
    for part in _parts(texts, slots, plan.tokens):
        pack, counts = Pack(), [0] * slots
        for slot, text in enumerate(part):
            begins = len(pack.ids)
            weights = text.weights or (1.0,) * len(text.ids)
            targets = [t for t in range(1, len(text.ids)) if weights[t]]
            mine = [weights[t] for t in targets]
            pack.add(text, targets, mine, (sum(mine) + pad_targets(text)) or 1.0, f"fisher/{slot}")
            counts[slot] = len(pack.ids) - begins
        parts = frozen.parts(below, [sum(counts)], grad=True) + frozen.parts(banks, counts, grad=True)
        losses, weighed = pack.losses(frozen, parts)
        (losses * weighed).sum().backward()  # type: ignore[no-untyped-call]
        for total, gradients in zip(totals, banks.gradients, strict=True):
            total += gradients.square().sum(0, keepdim=True)
            gradients.zero_()
    found = banks.read(totals, 0, adapter)
    return {name: (_levelled(a), _levelled(b)) for name, (a, b) in found.items()}


def directions(
    frozen: FrozenModel,
    plan: MemoryPlan,
    stack: Sequence[Adapter],
    names: Sequence[str],
    texts: Sequence[TrainSequence],
    share: float,
) -> dict[str, Tensor]:
    """Module -> U `[in, k]`: the fewest directions that have a share of the energy of its inputs on the texts.

    The energy is the sum of squares, not centred, over all tokens.
    """
    energy: dict[str, Tensor] = {}

    def add(name: str, x: Tensor) -> None:
        flat = x.reshape(-1, x.shape[-1]).double()
        energy[name] = energy.get(name, 0) + flat.t() @ flat

    groups = adapted_groups(frozen.groups, names)
    handles = []
    for members in groups.values():
        first = next(iter(members))
        module = frozen.model.get_submodule(first)
        handles.append(module.register_forward_pre_hook(lambda _, args, name=first: add(name, args[0])))
    try:
        with torch.inference_mode():
            for pack in packs(frozen, plan, [text.ids for text in texts], [tuple(stack)] * len(texts)):
                attend = PackedAttention(pack.lengths, device=frozen.device)
                frozen.hidden(pack.ids, pack.positions, attend, pack.parts, -1)
    finally:
        for handle in handles:
            handle.remove()
    kept: dict[str, Tensor] = {}
    for members in groups.values():
        first = next(iter(members))
        values, vectors = torch.linalg.eigh(energy[first])
        least = (1 - share) * float(values.clamp(min=0).sum())
        dropped = int((values.clamp(min=0).cumsum(0) <= least).sum())
        u = vectors[:, dropped:].float().clone()
        kept |= dict.fromkeys(members, u)
    return kept


def _parts(texts: Sequence[TrainSequence], slots: int, room: int) -> Iterator[list[TrainSequence]]:
    """As many texts at a time as there are slots, and as fit into a forward; one at least."""
    part: list[TrainSequence] = []
    for text in texts:
        if part and (len(part) == slots or sum(map(cost, part)) + cost(text) > room):
            yield part
            part = []
        part.append(text)
    if part:
        yield part


def _levelled(table: Tensor) -> Tensor:
    mean = float(table.mean())
    return table / mean if mean > 0 else table
