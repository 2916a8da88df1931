"""Weights as values: digests, folders, and what the store refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from harness.api import HarnessError
from harness.books.artefacts import FullWeights, artefact, load_artefact
from harness.engine import Adapter

CONFIG = {"kind": "lora", "rank": 2, "alpha": 4.0, "targets": ["q_proj"]}


def tensors(prefix: str = "") -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        f"{prefix}layers.0.q_proj.lora_A.weight": torch.randn(2, 8, generator=generator),
        f"{prefix}layers.0.q_proj.lora_B.weight": torch.randn(6, 2, generator=generator),
    }


def test_an_adapter_by_pefts_names(tmp_path: Path) -> None:
    made = artefact(tensors(), CONFIG)
    assert isinstance(made, Adapter)
    assert made == artefact(tensors("base_model.model."), CONFIG)
    assert made != artefact(tensors(), {**CONFIG, "alpha": 5.0})
    assert made.nbytes == 4 * (16 + 12)
    made.save(tmp_path)
    assert load_artefact(tmp_path) == made


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_full_weights(tmp_path: Path, dtype: torch.dtype) -> None:
    values = {"w": torch.arange(6, dtype=dtype).reshape(2, 3), "b": torch.ones(2, dtype=dtype)}
    made = artefact(values, {"kind": "full"})
    assert isinstance(made, FullWeights)
    values["w"][0, 0] = 9
    assert float(made.tensors["w"][0, 0]) == 0, "the store's copy is its own"
    made.save(tmp_path)
    loaded = load_artefact(tmp_path)
    assert isinstance(loaded, FullWeights)
    assert loaded.digest() == made.digest() != artefact(values, {"kind": "full"}).digest()
    assert loaded.nbytes == made.nbytes == 8 * dtype.itemsize
    assert all(torch.equal(loaded.tensors[name], made.tensors[name]) for name in made.tensors)


@pytest.mark.parametrize(
    ("change", "config", "message"),
    [
        ({}, {**CONFIG, "kind": "dora"}, "kind 'dora' cannot be stored"),
        ({}, {"kind": "lora"}, "lacks 'rank'"),
        ({}, {**CONFIG, "rank": 3}, "does not match its configuration"),
        ({"layers.0.q_proj.weight": torch.ones(1)}, CONFIG, "names end in"),
        ({"layers.1.q_proj.lora_A.weight": torch.ones(2, 8)}, CONFIG, r"incomplete: layers\.1\.q_proj"),
    ],
)
def test_what_is_no_artefact(change: dict[str, Any], config: dict[str, Any], message: str) -> None:
    with pytest.raises(HarnessError, match=message):
        artefact({**tensors(), **change}, config)


def test_an_adapter_of_nothing() -> None:
    with pytest.raises(HarnessError, match="none given"):
        artefact({}, CONFIG)
