"""Packed training of many adapters at once, each exactly as if it were trained alone.

K slots hold K jobs. A step concatenates the next sequences of every slot into one forward without padding; each job has
its own loss, gradient norm, clipping, AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101) and schedule. Its gradient is
that of its own loss, since no term of the summed loss involves two jobs. A slot whose job ends takes the next one, so
slots stay busy however much the jobs differ. A job that cannot be trained, or that diverges, fails alone.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from .adapter import Adapter
from .bank import Banks, adapted_groups
from .forward import FrozenModel
from .jobs import Loss, TrainJob, TrainResult
from .linear import Parts
from .losses import Sft
from .memory import MemoryPlan, is_out_of_memory
from .pack import Pack
from .prepare import Prepared, cost, pad_targets, prepare
from .restraint import Restraint, restraint
from .schedule import learning_rate, step_batches
from .score import ScoreRow, logprobs


@dataclass
class _Slot:
    """A job in training: its progress within the current step and so far."""

    index: int
    work: Prepared
    optimizers: list[torch.optim.AdamW]  # one for each device
    step: int = 0
    batches: list[list[int]] = field(default_factory=list)  # chunks of sequence indices still to run in this step
    weight: float = 1.0  # the step's normaliser
    loss: list[Tensor] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    trained: int = 0
    seconds: float = 0.0
    reduced: bool = False
    restraint: Restraint | None = None


def train(frozen: FrozenModel, plan: MemoryPlan, jobs: Iterable[TrainJob]) -> Iterator[TrainResult]:
    """Train every job; yields one result per job as it finishes, and raises for no single job."""
    todo = []
    for job in jobs:
        prepared = prepare(frozen, job)
        if isinstance(prepared, TrainResult):
            yield prepared
        else:
            todo.append(prepared)
    todo.sort(key=lambda work: (-work.tokens, work.content))  # longest first, so that the last slots end together
    if todo:
        yield from _Trainer(frozen, plan, todo).run()


class _Trainer:
    """The slots, their bank, and the loop over packed steps."""

    def __init__(self, frozen: FrozenModel, plan: MemoryPlan, todo: list[Prepared]) -> None:
        self._frozen, self._plan, self._todo = frozen, plan, todo
        self._budget = plan.tokens
        self._reduced = False
        names = [name for work in todo for name in work.start.weights]
        self._groups = adapted_groups(frozen.groups, names)
        self._rank = max(work.start.rank for work in todo)
        self._banks = self._allocate(min(plan.slots, len(todo)))
        self._slots: list[_Slot | None] = [None] * self._banks.slots
        self._stacks: tuple[str, ...] = ()
        self._below: Banks | None = None
        self._turn = 0

    def run(self) -> Iterator[TrainResult]:
        while self._todo or any(self._slots):
            yield from self._admit()
            chosen = self._choose()
            if chosen:
                yield from self._step(chosen)

    def _allocate(self, slots: int) -> Banks:
        """Banks for as many slots as memory allows."""
        places, dtype = self._frozen.places, self._frozen.dtype
        while True:
            try:
                return Banks(slots, self._groups, self._rank, places=places, dtype=dtype, trains=True)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or slots == 1:
                    raise
            slots, self._reduced = slots // 2, True

    def _admit(self) -> Iterator[TrainResult]:
        """Put waiting jobs into free slots; yields the results of those that do not fit."""
        for index, slot in enumerate(self._slots):
            while slot is None and self._todo:
                work = self._todo.pop(0)
                try:
                    work = self._with_reference(work)
                    self._banks.put(index, (work.start,))
                    held = restraint(self._frozen, self._plan, work, self._banks, index)
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
                        raise
                    yield TrainResult(work.job.id, "error", f"out of memory: {error}")
                    continue
                optimizers = self._optimizers(work, index)
                slot = self._slots[index] = _Slot(index, work, optimizers, reduced=self._reduced, restraint=held)
                self._begin(slot)

    def _optimizers(self, work: Prepared, index: int) -> list[torch.optim.AdamW]:
        """AdamW on each bank's row of a slot, from its beginning or where the start's stopped."""
        hp, banks = work.job.hp, self._banks
        state = work.start.optimizer if hp.keep_optimizer else None
        banks.begin(index, state)
        made = []
        for values, gradients, moments in zip(banks.values, banks.gradients, banks.moments, strict=True):
            row = values[index].detach().requires_grad_()
            row.grad = gradients[index]
            optimizer = torch.optim.AdamW(
                [row], lr=hp.learning_rate, betas=hp.betas, eps=hp.eps, weight_decay=hp.weight_decay, fused=True
            )
            step = torch.full((), float(state.step) if state else 0.0, device=row.device)
            mean, square = moments[:, index]
            optimizer.state[row] = {"step": step, "exp_avg": mean, "exp_avg_sq": square}
            made.append(optimizer)
        return made

    def _with_reference(self, work: Prepared) -> Prepared:
        """Add `meta["reference"]` where the loss needs it: log-probabilities under the model the job starts from."""
        job = work.job
        missing = [i for i, s in enumerate(job.sequences) if "reference" not in s.meta]
        if not getattr(work.loss, "needs_reference", False) or not missing:
            return work
        below = job.stack if job.init is None else (*job.stack, job.init)
        rows = [ScoreRow(job.sequences[i].ids[:1], job.sequences[i].ids[1:], below) for i in missing]
        sequences = list(job.sequences)
        for i, scores in zip(missing, logprobs(self._frozen, self._plan, rows), strict=True):
            reference = tuple(scores[t - 1] for t in work.targets[i])
            sequences[i] = replace(sequences[i], meta={**sequences[i].meta, "reference": reference})
        return replace(work, job=replace(job, sequences=tuple(sequences)))

    def _begin(self, slot: _Slot) -> None:
        """Divide the slot's current optimiser step into chunks that each fit into one forward."""
        work = slot.work
        hp, sequences = work.job.hp, work.job.sequences
        chosen = step_batches(len(work.units), slot.step, hp, work.job.seed)
        batches = [[i for unit in batch for i in work.units[unit]] for batch in chosen]
        slot.loss = []
        if not _adds_up(work.loss):
            slot.batches, slot.weight = batches, float(len(batches))
            return
        members = [i for batch in batches for i in batch]
        if isinstance(work.loss, Sft):
            slot.weight = sum(sum(work.weights[i]) + pad_targets(sequences[i]) for i in members) or 1.0
        else:
            slot.weight = work.loss.total([sequences[i] for i in members]) or 1.0  # type: ignore[attr-defined]
        slot.batches, room = [], 0
        for i in members:
            if not slot.batches or cost(sequences[i]) > room:
                slot.batches.append([])
                room = self._budget
            slot.batches[-1].append(i)
            room -= cost(sequences[i])

    def _choose(self) -> list[_Slot]:
        """Slots whose next chunks fit into one forward together; the first one left out comes first next time."""
        live = [slot for slot in self._slots if slot is not None]
        turn = sorted(live, key=lambda slot: (slot.index - self._turn) % len(self._slots))
        chosen: list[_Slot] = []
        room = self._budget
        for slot in turn:
            size = sum(cost(slot.work.job.sequences[i]) for i in slot.batches[0])
            if chosen and size > room:
                self._turn = slot.index
                break
            chosen.append(slot)
            room -= size
        return sorted(chosen, key=lambda slot: slot.index)

    def _step(self, chosen: list[_Slot]) -> Iterator[TrainResult]:
        """One forward and backward for the chosen slots, then an optimiser step for those whose step is complete."""
        began = time.perf_counter()
        try:
            costs, broken = self._forward(chosen)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            message = str(error).splitlines()[0]
        else:
            complete = []
            for slot in chosen:
                slot.batches.pop(0)
                if slot.index in broken:
                    yield self._finish(slot, "failed", broken[slot.index])
                elif not slot.batches:
                    complete.append(slot)
            ended = self._update(complete)
            share = (time.perf_counter() - began) / sum(costs)
            for slot, count in zip(chosen, costs, strict=True):
                slot.trained += count
                slot.seconds += share * count
            for slot, reason in ended:
                yield self._finish(slot, "failed" if reason else "ok", reason)
            return
        yield from self._shrink(chosen, message)

    def _forward(self, chosen: list[_Slot]) -> tuple[list[int], dict[int, str]]:
        """Run the chosen slots' chunks; returns their token counts, and the reasons of the jobs whose loss raised."""
        pack, costs, spans = Pack(), [], []
        for slot in chosen:
            start, first = len(pack.ids), len(pack.keep)
            work = slot.work
            for i in slot.batches[0]:
                draw = f"{work.job.seed}/{slot.step}/{i}"
                pack.add(work.job.sequences[i], work.targets[i], work.weights[i], slot.weight, draw)
            costs.append(len(pack.ids) - start)
            spans.append(slice(first, len(pack.keep)))
        loss, weights = pack.losses(self._frozen, self._parts(chosen, costs))
        weighted = loss * weights
        total = loss.new_zeros(())
        broken: dict[int, str] = {}
        for slot, span in zip(chosen, spans, strict=True):
            if isinstance(slot.work.loss, Sft):
                own = weighted[span].sum()
            else:
                try:
                    own = self._own_loss(slot, -loss[span]) / slot.weight
                except Exception as error:  # a plugin's code: whatever it raises is that job's failure alone
                    broken[slot.index] = f"the loss raised {type(error).__name__}: {error}"
                    continue
            slot.loss.append(own.detach())
            total = total + own
        if total.requires_grad:
            total.backward()  # type: ignore[no-untyped-call]
        return costs, broken

    def _own_loss(self, slot: _Slot, logprobs: Tensor) -> Tensor:
        chunk = slot.batches[0]
        parts = torch.split(logprobs, [len(slot.work.targets[i]) for i in chunk])
        value = slot.work.loss(parts, [slot.work.job.sequences[i] for i in chunk])
        if value.dim() != 0:
            raise ValueError(f"returned a tensor of shape {list(value.shape)} instead of a scalar")
        return value

    def _parts(self, chosen: list[_Slot], costs: list[int]) -> Parts:
        """The frozen stacks (one slot per run of neighbours with the same stack), and the adapters in training."""
        counts = [0] * len(self._slots)
        for slot, count in zip(chosen, costs, strict=True):
            counts[slot.index] = count
        runs: list[tuple[str, tuple[Adapter, ...], int]] = []
        for index, one in enumerate(self._slots):
            stack, adapters = ("", ()) if one is None else (one.work.stack, one.work.job.stack)
            if runs and runs[-1][0] == stack:
                runs[-1] = (stack, adapters, runs[-1][2] + counts[index])
            else:
                runs.append((stack, adapters, counts[index]))
        stacks = tuple(stack for stack, _, _ in runs)
        if stacks != self._stacks:
            self._stacks, self._below = stacks, self._frozen.bank([adapters for _, adapters, _ in runs])
        below = self._frozen.parts(self._below, [count for _, _, count in runs], grad=True)
        return below + self._frozen.parts(self._banks, counts, grad=True)

    def _update(self, complete: list[_Slot]) -> list[tuple[_Slot, str]]:
        """Clip and step every complete slot; returns the finished slots, each with a reason if it failed, else ""."""
        if not complete:
            return []
        for slot in complete:
            if slot.restraint is not None:
                slot.loss.append(slot.restraint.pull(self._banks, slot.index).to(slot.loss[-1].device))
        norms = torch.stack([self._banks.norm(slot.index) for slot in complete])
        losses = torch.stack([torch.stack(slot.loss).sum() for slot in complete])
        ended = []
        for slot, norm, loss in zip(complete, norms.tolist(), losses.tolist(), strict=True):
            work, hp = slot.work, slot.work.job.hp
            rows = [gradients[slot.index] for gradients in self._banks.gradients]
            slot.losses.append(loss)
            slot.step += 1
            reason = ""
            if not (abs(loss) < float("inf") and norm < float("inf")):
                reason = f"diverged in step {slot.step} of {work.total_steps}: loss {loss:g}, gradient norm {norm:g}"
            else:
                if hp.clip and norm > hp.clip:
                    for row in rows:
                        row.mul_(hp.clip / (norm + 1e-6))
                for optimizer in slot.optimizers:
                    optimizer.param_groups[0]["lr"] = learning_rate(hp, slot.step - 1, work.total_steps)
                    optimizer.step()
                if slot.restraint is not None:
                    slot.restraint.project(self._banks, slot.index)
                self._banks.refresh(slot.index)
                last = slot.step == work.total_steps
                if last and not all(values[slot.index].isfinite().all() for values in self._banks.values):
                    reason = f"diverged in the last step of {work.total_steps}: weights are not finite"
            for row in rows:
                row.zero_()
            if reason or slot.step == work.total_steps:
                ended.append((slot, reason))
            else:
                self._begin(slot)
        return ended

    def _finish(self, slot: _Slot, status: str, reason: str = "") -> TrainResult:
        """Free the slot and report its job."""
        self._slots[slot.index] = None
        adapter = self._taken(slot) if status == "ok" else None
        return TrainResult(
            slot.work.job.id,
            "ok" if status == "ok" else "failed" if status == "failed" else "error",
            reason,
            adapter=adapter,
            losses=tuple(slot.losses),
            steps=slot.step,
            tokens=slot.trained,
            seconds=slot.seconds,
            reduced=slot.reduced,
        )

    def _taken(self, slot: _Slot) -> Adapter:
        """A finished job's adapter, with its optimiser state where the job keeps it."""
        start, keeps = slot.work.start, slot.work.job.hp.keep_optimizer
        before = start.optimizer.step if start.optimizer else 0
        return self._banks.take(slot.index, start, before + slot.step if keeps else None)

    def _shrink(self, chosen: list[_Slot], message: str) -> Iterator[TrainResult]:
        """After running out of memory: halve the forward, and repeat the interrupted steps, which changed no
        weights."""
        tried = sum(cost(slot.work.job.sequences[i]) for slot in chosen for i in slot.batches[0])
        if self._frozen.device.type == "cuda":
            torch.cuda.empty_cache()
        if len(chosen) == 1 and (len(chosen[0].batches[0]) == 1 or not _adds_up(chosen[0].work.loss)):
            yield self._finish(chosen[0], "error", f"out of memory with {tried} tokens: {message}")
            return
        self._reduced = True
        self._budget = max(1, tried // 2)
        for slot in self._slots:
            if slot is not None:
                slot.reduced = True
        for slot in chosen:
            for gradients in self._banks.gradients:
                gradients[slot.index].zero_()
            self._begin(slot)


def _adds_up(loss: Loss) -> bool:
    """Whether an optimiser step can be cut into forwards at any sequence; see :class:`Loss`."""
    return isinstance(loss, Sft) or hasattr(loss, "total")
