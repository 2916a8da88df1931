"""Log-probabilities and hidden states of given texts, packed, each under its own adapter stack."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import torch

from .adapter import Adapter, stack_digest
from .attention import PackedAttention
from .forward import FrozenModel
from .linear import Parts
from .memory import MemoryPlan


class ScoreRow(NamedTuple):
    """Score `continuation` given `prompt`. After an empty prompt its first token has no score, as nothing predicts
    it."""

    prompt: tuple[int, ...]
    continuation: tuple[int, ...]
    adapters: tuple[Adapter, ...] = ()


class HiddenRow(NamedTuple):
    """Compute the hidden states of `ids`."""

    ids: tuple[int, ...]
    adapters: tuple[Adapter, ...] = ()


class RowPack(NamedTuple):
    """The rows of one forward, in canonical order, and its inputs."""

    rows: list[int]
    ids: list[int]
    positions: list[int]
    lengths: list[int]
    parts: Parts


def logprobs(frozen: FrozenModel, plan: MemoryPlan, rows: Sequence[ScoreRow]) -> list[list[float]]:
    """Natural-log probability of every continuation token, in the order of `rows`; see `ScoreRow` for empty prompts."""
    return [scores for scores, _ in likelihoods(frozen, plan, rows)]


def likelihoods(frozen: FrozenModel, plan: MemoryPlan, rows: Sequence[ScoreRow]) -> list[tuple[list[float], bool]]:
    """`logprobs`, and whether every continuation token has the largest logit at its place."""
    out: list[list[float]] = [[] for _ in rows]
    greedy = [True] * len(rows)
    texts = [row.prompt + row.continuation for row in rows]
    with torch.inference_mode():
        for pack in packs(frozen, plan, texts, [row.adapters for row in rows]):
            keep, targets, owners, at = [], [], [], 0
            for i in pack.rows:
                first = max(len(rows[i].prompt), 1)
                for place in range(first, len(texts[i])):
                    keep.append(at + place - 1)
                    targets.append(texts[i][place])
                    owners.append(i)
                at += len(texts[i])
            if not keep:
                continue
            attend = PackedAttention(pack.lengths, device=frozen.device)
            logits = frozen.logits(pack.ids, pack.positions, attend, pack.parts, keep)
            index = torch.tensor(targets, device=logits.device)[:, None]
            scores = logits.float().log_softmax(-1).gather(1, index)[:, 0].tolist()
            best = logits.argmax(-1).tolist()
            for owner, score, target, top in zip(owners, scores, targets, best, strict=True):
                out[owner].append(score)
                greedy[owner] &= target == top
    return list(zip(out, greedy, strict=True))


def hidden(
    frozen: FrozenModel, plan: MemoryPlan, rows: Sequence[HiddenRow], layer: int, pool: Literal["mean", "last"]
) -> list[list[float]]:
    """One vector `[hidden]` per row: the states after `layer`, pooled over the row's tokens.

    Raises:
        ValueError: an unknown pool, or a layer that the model does not have.
    """
    if pool not in ("mean", "last"):
        raise ValueError(f"unknown pool {pool!r}; use 'mean' or 'last'")
    depth = int(frozen.model.config.num_hidden_layers)
    if not -depth - 1 <= layer <= depth:
        raise ValueError(f"layer {layer} does not exist; 0 is the embeddings, {depth} the last layer of this model")
    out: list[list[float]] = [[] for _ in rows]
    with torch.inference_mode():
        for pack in packs(frozen, plan, [row.ids for row in rows], [row.adapters for row in rows]):
            attend = PackedAttention(pack.lengths, device=frozen.device)
            states = frozen.hidden(pack.ids, pack.positions, attend, pack.parts, layer)
            for i, part in zip(pack.rows, torch.split(states.float(), pack.lengths), strict=True):
                out[i] = (part.mean(0) if pool == "mean" else part[-1]).tolist()
    return out


def packs(
    frozen: FrozenModel, plan: MemoryPlan, texts: Sequence[tuple[int, ...]], adapters: Sequence[tuple[Adapter, ...]]
) -> Iterator[RowPack]:
    """Packs of at most `plan.tokens` tokens and `plan.slots` stacks, whatever the order of the rows."""
    stacks = [stack_digest(stack) for stack in adapters]
    order = sorted((i for i in range(len(texts)) if texts[i]), key=lambda i: (stacks[i], len(texts[i]), texts[i]))
    while order:
        rows: list[int] = []
        used: list[str] = []
        room = plan.tokens
        for i in order:
            new = stacks[i] not in used
            if rows and (len(texts[i]) > room or (new and len(used) == plan.slots)):
                break
            rows.append(i)
            used += [stacks[i]] if new else []
            room -= len(texts[i])
        order = order[len(rows) :]
        counts = [sum(len(texts[i]) for i in rows if stacks[i] == stack) for stack in used]
        chosen = [next(adapters[i] for i in rows if stacks[i] == stack) for stack in used]
        yield RowPack(
            rows,
            [t for i in rows for t in texts[i]],
            [p for i in rows for p in range(len(texts[i]))],
            [len(texts[i]) for i in rows],
            frozen.parts(frozen.bank(chosen), counts),
        )
