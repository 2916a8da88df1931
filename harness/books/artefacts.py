"""Stored weights as values: a LoRA adapter, or all weights of a full fine-tune."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, load_file, save, save_file
from torch import Tensor

from harness.api import JSON
from harness.engine import Adapter
from harness.engine.adapter import adam_state, moments
from harness.errors import UsageError

_PREFIX = "base_model.model."
_FULL = "full_weights.safetensors"


@dataclass(frozen=True, eq=False)
class FullWeights:
    """All parameters of a model after a full fine-tune, by parameter name, on the CPU.

    In a stack of artefacts, it replaces the model's weights and everything before it in the stack.
    """

    tensors: Mapping[str, Tensor]

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def digest(self) -> str:
        """SHA-256 over names, dtypes, shapes and bytes. It is computed once, so the tensors must never be modified."""
        known = self.__dict__.get("_digest")
        if known is None:
            sha = hashlib.sha256(b"full")
            for name in sorted(self.tensors):
                tensor = self.tensors[name].detach().contiguous()
                sha.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
                sha.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
            known = sha.hexdigest()
            object.__setattr__(self, "_digest", known)
        return str(known)

    def save(self, folder: Path) -> None:
        """Write the tensors as one safetensors file."""
        save_file({name: tensor.detach().contiguous() for name, tensor in self.tensors.items()}, folder / _FULL)


def artefact(tensors: Mapping[str, Tensor], config: JSON) -> Adapter | FullWeights:
    """The artefact that :meth:`harness.api.Session.store` stores for these tensors.

    Args:
        tensors: for an adapter, by peft's names (``<module>.lora_A.weight`` [rank, in], ``<module>.lora_B.weight``
            [out, rank]); for a full fine-tune, by parameter names.
        config: ``{"kind": "lora", "rank": int, "alpha": float, "targets": [suffixes]}`` or ``{"kind": "full"}``.

    Raises:
        UsageError: malformed tensors or configuration.
    """
    kind = config.get("kind", "lora")
    if kind == "full":
        return FullWeights({name: tensor.detach().cpu().clone() for name, tensor in tensors.items()})
    if kind != "lora":
        raise UsageError(f"weights of kind {kind!r} cannot be stored; the kinds are lora and full")
    pairs: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        module, _, part = key.removesuffix(".weight").rpartition(".")
        if part not in ("lora_A", "lora_B"):
            raise UsageError(
                f"an adapter cannot have the tensor {key!r}; names end in .lora_A.weight or .lora_B.weight"
            )
        pairs.setdefault(module.removeprefix(_PREFIX), {})[part] = tensor.detach().cpu().float().clone()
    whole = {module: pair for module, pair in sorted(pairs.items()) if len(pair) == 2}
    if len(whole) != len(pairs) or not whole:
        half = next((module for module in pairs if module not in whole), "none given")
        raise UsageError(f"an adapter needs lora_A and lora_B of every module; incomplete: {half}")
    try:
        return Adapter(
            {module: (pair["lora_A"], pair["lora_B"]) for module, pair in whole.items()},
            rank=int(config["rank"]),
            alpha=float(config["alpha"]),
            targets=tuple(config["targets"]),
        )
    except KeyError as error:
        raise UsageError(f"an adapter's configuration lacks {error}; it needs rank, alpha and targets") from error
    except (TypeError, ValueError) as error:
        raise UsageError(f"an adapter does not match its configuration: {error}") from error


def load_artefact(folder: Path) -> Adapter | FullWeights:
    """The artefact whose ``save`` wrote the folder."""
    if (folder / _FULL).is_file():
        return FullWeights(load_file(folder / _FULL))
    return Adapter.load(folder)


def artefact_bytes(weights: Adapter | FullWeights) -> bytes:
    """Weights as one safetensors file in memory, for :func:`artefact_of`."""
    if isinstance(weights, FullWeights):
        return save({name: tensor.detach().contiguous() for name, tensor in weights.tensors.items()}, {"kind": "full"})
    tensors = {
        f"{p}.{name}": pair[i].contiguous() for name, pair in weights.weights.items() for i, p in enumerate("AB")
    }
    says: dict[str, Any] = {"rank": weights.rank, "alpha": weights.alpha, "targets": list(weights.targets)}
    if weights.optimizer is not None:
        says["step"] = weights.optimizer.step
        tensors |= {f"adam.{name}": tensor.contiguous() for name, tensor in moments(weights.optimizer).items()}
    return save(tensors, {"kind": "lora", "says": json.dumps(says)})


def artefact_of(raw: bytes) -> Adapter | FullWeights:
    """The inverse of :func:`artefact_bytes`: weights of the same digest."""
    length = int.from_bytes(raw[:8], "little")
    metadata = json.loads(raw[8 : 8 + length])["__metadata__"]
    tensors = load(raw)
    if metadata["kind"] == "full":
        return FullWeights(tensors)
    says = json.loads(metadata["says"])
    names = sorted(key[2:] for key in tensors if key.startswith("A."))
    pairs = {name: (tensors[f"A.{name}"], tensors[f"B.{name}"]) for name in names}
    adam = {key.removeprefix("adam."): tensor for key, tensor in tensors.items() if key.startswith("adam.")}
    state = adam_state(says["step"], adam) if "step" in says else None
    return Adapter(pairs, says["rank"], says["alpha"], tuple(says["targets"]), state)
