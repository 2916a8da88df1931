"""Models shared by the tests of this folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.engine import Adapter
from harness.models.hf import HfModel
from harness.models.hf_settings import HfSettings
from tests.models import tiny


class Weights:
    """A weight store in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    def put(self, artefact: Any) -> str:
        self.kept[artefact.digest()] = artefact
        return str(artefact.digest())

    def adapter(self, digest: str) -> Any:
        return self.kept[digest]


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Name -> folder: a Llama base model, a Qwen2 base model with a template, and a Qwen2 instruct model."""
    root = tmp_path_factory.mktemp("models")
    return {
        "llama": tiny.write(root / "llama"),
        "qwen": tiny.write(root / "qwen", "qwen2", template=tiny.CHAT),
        "instruct": tiny.write(root / "instruct", "qwen2", end="<|im_end|>", template=tiny.CHAT, seed=1),
    }


@pytest.fixture
def weights() -> Weights:
    return Weights()


@pytest.fixture
def llama(folders: Mapping[str, Path], weights: Weights) -> HfModel:
    return HfModel(HfSettings(path=str(folders["llama"]), device="cpu"), weights)


@pytest.fixture
def instruct(folders: Mapping[str, Path], weights: Weights) -> HfModel:
    return HfModel(HfSettings(path=str(folders["instruct"]), device="cpu"), weights)


def random_adapter(model: HfModel, seed: int, *, rank: int = 4, alpha: float = 32.0, size: float = 0.5) -> Adapter:
    """An adapter whose B is not zero, so that it changes answers."""
    fresh = model.engine.init_lora(rank=rank, alpha=alpha, targets=("q_proj", "v_proj", "down_proj"), seed=seed)
    generator = torch.Generator().manual_seed(seed)
    moved = {name: (a, size * torch.randn(b.shape, generator=generator)) for name, (a, b) in fresh.weights.items()}
    return Adapter(moved, fresh.rank, fresh.alpha, fresh.targets)
