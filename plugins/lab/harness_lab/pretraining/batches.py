"""Packed batches: whole documents in rows of fixed length, attention kept inside each document.

Shard `s` of step `n` depends on (seed, shard, step) only, so training resumes exactly and gives the same batches for
any number of processes.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from harness_lab.pretraining.mix import EOS, Document, MixWriter, Resident, residents, shares
from harness_lab.pretraining.tokenizer import CachedEncoder

ROW = 384  # tokens per row; longer documents are left out (there are none)
RESIDENT_SEED = 23
_ROWS_A_CHUNK = 160
_KEEP_PROMPT_LOSS = 0.35  # share of documents in which prompt tokens are learned too, with weight 0.3
_PROMPT_LOSS = 0.3

Encoded = tuple[list[int], list[float]]


@dataclass(frozen=True)
class Batch:
    """`tokens`, `targets`, `weights` of the targets and `positions` have shape [rows, ROW]; `mask` has shape
    [rows, 1, ROW, ROW] and is added to the attention scores."""

    tokens: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    positions: torch.Tensor
    mask: torch.Tensor


class Shard:
    """One endless stream of rows."""

    def __init__(self, encode: CachedEncoder, eos: int, seed: int, shard: int, rows: int) -> None:
        self._encode, self._eos = encode, eos
        self._seed, self._shard, self._rows = seed, shard, rows
        self._residents: Sequence[Resident] = residents(RESIDENT_SEED)
        self._chunk: tuple[int, list[list[Encoded]]] = (-1, [])

    def batch(self, step: int) -> Batch:
        steps_a_chunk = _ROWS_A_CHUNK // self._rows
        chunk, place = divmod(step, steps_a_chunk)
        if self._chunk[0] != chunk:
            self._chunk = (chunk, self._pack(chunk))
        return collate(self._chunk[1][place * self._rows : (place + 1) * self._rows])

    def _pack(self, chunk: int) -> list[list[Encoded]]:
        """Pack documents into `_ROWS_A_CHUNK` rows, the longest first, each into the fullest row that has room."""
        rng = random.Random(f"{self._seed}/{self._shard}/{chunk}")
        writer = MixWriter(rng, self._residents)
        documents: list[Encoded] = []
        total = 0
        while total < _ROWS_A_CHUNK * ROW:
            document = self._encoded(writer.document(shares(chunk)), rng)
            if len(document[0]) <= ROW + 1:
                documents.append(document)
                total += len(document[0]) - 1
        rows: list[list[Encoded]] = [[] for _ in range(_ROWS_A_CHUNK)]
        room = [ROW] * _ROWS_A_CHUNK
        for document in sorted(documents, key=lambda d: -len(d[0])):
            need = len(document[0]) - 1
            fitting = [i for i in range(_ROWS_A_CHUNK) if room[i] >= need]
            if fitting:
                best = min(fitting, key=room.__getitem__)
                rows[best].append(document)
                room[best] -= need
        rng.shuffle(rows)
        return rows

    def _encoded(self, document: Document, rng: random.Random) -> Encoded:
        floor = _PROMPT_LOSS if rng.random() < _KEEP_PROMPT_LOSS else 0.0
        ids: list[int] = []
        weights: list[float] = []
        for text, weight in document:
            piece = [self._eos] if text == EOS else self._encode(text)
            ids += piece
            weights += [max(weight, floor)] * len(piece)
        return ids, weights


def collate(rows: Sequence[Sequence[Encoded]]) -> Batch:
    """Rows of documents as tensors; a document of n tokens takes n-1 positions (it predicts only its own tokens)."""
    shape = (len(rows), ROW)
    tokens, targets = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    weights, positions = torch.zeros(shape), torch.zeros(shape, dtype=torch.long)
    owner = torch.zeros(shape, dtype=torch.long)
    for r, row in enumerate(rows):
        at = 0
        for number, (ids, weight) in enumerate(row, 1):
            span = slice(at, at + len(ids) - 1)
            tokens[r, span] = torch.tensor(ids[:-1])
            targets[r, span] = torch.tensor(ids[1:])
            weights[r, span] = torch.tensor(weight[1:])
            positions[r, span] = torch.arange(len(ids) - 1)
            owner[r, span] = number
            at += len(ids) - 1
    allowed = (owner[:, :, None] == owner[:, None, :]) & torch.ones(ROW, ROW, dtype=torch.bool).tril()
    mask = torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)
    return Batch(tokens, targets, weights, positions, mask[:, None])
