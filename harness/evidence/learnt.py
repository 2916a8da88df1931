"""Whether a row depends on anything random, such as sampled edits or training."""

from __future__ import annotations

from harness.evidence.result import Row

_UPDATE_S = 1e-4
"""Seconds per query and seed: putting a text into memory takes microseconds, a training step or a generator's pass
milliseconds."""


def learnt(row: Row) -> bool:
    """Whether anything was trained, written or updated for the row: an editor, an outer loop, meta-training, weights.

    Where nothing was (the bare model, the passage in its prompt), identical scores of all seeds show a deterministic
    procedure. Where something was, they show a single training evaluated several times. What a file does not record
    counts as learnt.
    """
    costs = row.costs
    if row.editor_model or costs.get("meta_s") or costs.get("edit_tokens") != 0 or costs.get("outer_s") != 0:
        return True
    update = costs.get("update_s")
    return update is None or update > _UPDATE_S * row.expected
