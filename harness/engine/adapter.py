"""A LoRA adapter (Hu et al. 2021, arXiv 2106.09685) as a value: its weights, scale and digest, and peft's file
format."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

Weights = Mapping[str, tuple[Tensor, Tensor]]
Targets = tuple[str, ...] | str | None
_FUSED = ("query_key_value", "qkv_proj", "c_attn")
"""Names of the one projection that yields queries, keys and values: GPT-NeoX and Falcon; Phi-3; GPT-2."""

_PREFIX = "base_model.model."
_OPTIMIZER = "optimizer.safetensors"
_UNSUPPORTED = {
    "use_rslora": False, "use_dora": False, "bias": "none", "rank_pattern": {}, "alpha_pattern": {},
    "modules_to_save": None, "fan_in_fan_out": False, "trainable_token_indices": None, "target_parameters": None,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class AdamState:
    """AdamW's state after `step` optimiser steps: the moments of every module's A and B, shaped like them, fp32,
    CPU."""

    step: int
    mean: Weights
    """Running mean of the gradient (torch's `exp_avg`)."""
    square: Weights
    """Running mean of the squared gradient (torch's `exp_avg_sq`)."""


@dataclass(frozen=True, eq=False)
class Adapter:
    """One LoRA adapter. For every adapted linear module: A `[rank, in]` and B `[out, rank]`, fp32, on the CPU.

    The module's output becomes `W x + (alpha / rank) B A x`. `targets` are the module-name suffixes (as in peft's
    `target_modules`) that selected the modules; `weights` is keyed by full module name. `optimizer` is set where
    training was told to keep its state for further training; it does not change what the adapter computes.

    Raises:
        ValueError: a weight has the wrong shape, dtype or device.
    """

    weights: Weights
    rank: int
    alpha: float
    targets: tuple[str, ...]
    optimizer: AdamState | None = None

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"adapter rank must be at least 1, got {self.rank}")
        for name, (a, b) in self.weights.items():
            if a.dim() != 2 or b.dim() != 2 or a.shape[0] != self.rank or b.shape[1] != self.rank:
                raise ValueError(
                    f"adapter module {name!r}: A {list(a.shape)} and B {list(b.shape)} do not have rank {self.rank}; "
                    "A is [rank, in], B is [out, rank]"
                )
            if a.dtype != torch.float32 or b.dtype != torch.float32 or a.device.type != "cpu" or b.device.type != "cpu":
                raise ValueError(f"adapter module {name!r}: weights must be float32 on the CPU")

    @property
    def scale(self) -> float:
        """alpha / rank."""
        return self.alpha / self.rank

    @property
    def norm(self) -> float:
        """Frobenius norm of the change that it makes to all weights together: sqrt(sum of ||scale B A||^2)."""
        squares = (float(((b.t() @ b) * (a @ a.t())).sum()) for a, b in self.weights.values())
        return self.scale * math.sqrt(max(0.0, math.fsum(squares)))

    @property
    def nbytes(self) -> int:
        """Bytes of all weights."""
        return sum(a.nbytes + b.nbytes for a, b in self.weights.values())

    def digest(self) -> str:
        """sha256 over the configuration and every weight, in module-name order: equal digests, equal behaviour.

        It covers the optimiser state, if any. It is computed once, so the tensors must never be modified.
        """
        known = self.__dict__.get("_digest")
        if known is not None:
            return str(known)
        config = {"rank": self.rank, "alpha": float(self.alpha), "targets": sorted(self.targets)}
        sha = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
        for name in sorted(self.weights):
            a, b = self.weights[name]
            sha.update(json.dumps([name, list(a.shape), list(b.shape)]).encode())
            sha.update(a.contiguous().numpy().tobytes())
            sha.update(b.contiguous().numpy().tobytes())
        if self.optimizer is not None:
            sha.update(f"adam {self.optimizer.step}".encode())
            for name, tensor in sorted(moments(self.optimizer).items()):
                sha.update(json.dumps([name, list(tensor.shape)]).encode())
                sha.update(tensor.contiguous().numpy().tobytes())
        object.__setattr__(self, "_digest", sha.hexdigest())
        return sha.hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Adapter) and self.digest() == other.digest()

    def __hash__(self) -> int:
        return int(self.digest()[:15], 16)

    def save(self, folder: str | Path) -> None:
        """Write `adapter_config.json` and `adapter_model.safetensors`, which `peft.PeftModel.from_pretrained` loads.

        The optimiser state, if any, goes into `optimizer.safetensors` beside them, which peft ignores.
        """
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        tensors = {}
        for name in sorted(self.weights):
            a, b = self.weights[name]
            tensors[f"{_PREFIX}{name}.lora_A.weight"] = a.contiguous()
            tensors[f"{_PREFIX}{name}.lora_B.weight"] = b.contiguous()
        save_file(tensors, path / "adapter_model.safetensors", metadata={"format": "pt"})
        if self.optimizer is not None:
            state = {name: tensor.contiguous() for name, tensor in moments(self.optimizer).items()}
            save_file(state, path / _OPTIMIZER, metadata={"step": str(self.optimizer.step)})
        alpha = int(self.alpha) if float(self.alpha).is_integer() else self.alpha
        config = {
            "peft_type": "LORA", "task_type": "CAUSAL_LM", "inference_mode": True, "base_model_name_or_path": None,
            "r": self.rank, "lora_alpha": alpha, "lora_dropout": 0.0, "bias": "none",
            "target_modules": sorted(self.targets),
        }  # fmt: skip
        (path / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> Adapter:
        """Read a folder written by `save` or by peft (plain LoRA only).

        Raises:
            ValueError: the folder holds something other than plain LoRA (DoRA, rsLoRA, per-module ranks, biases).
        """
        path = Path(folder)
        config = json.loads((path / "adapter_config.json").read_text())
        if config.get("peft_type") != "LORA":
            raise ValueError(
                f"{path}: peft_type is {config.get('peft_type')!r}; only plain LoRA adapters can be loaded"
            )
        for key, plain in _UNSUPPORTED.items():
            if config.get(key, plain) not in (plain, None, [], {}):
                raise ValueError(
                    f"{path}: {key}={config[key]!r} is not supported; only plain LoRA adapters can be loaded"
                )
        pairs: dict[str, dict[str, Tensor]] = {}
        for key, tensor in load_file(path / "adapter_model.safetensors").items():
            name, _, kind = key.removesuffix(".weight").rpartition(".")
            if kind not in ("lora_A", "lora_B"):
                raise ValueError(f"{path}: unexpected tensor {key!r}; only lora_A and lora_B weights are understood")
            pairs.setdefault(name.removeprefix(_PREFIX), {})[kind] = tensor.float()
        targets = config["target_modules"]
        return cls(
            weights={name: (pair["lora_A"], pair["lora_B"]) for name, pair in sorted(pairs.items())},
            rank=int(config["r"]),
            alpha=float(config["lora_alpha"]),
            targets=(targets,) if isinstance(targets, str) else tuple(sorted(targets)),
            optimizer=_load_optimizer(path / _OPTIMIZER),
        )


def moments(state: AdamState) -> dict[str, Tensor]:
    """The optimiser's tensors under their names in the file: `<moment>.<A or B>.<module>`."""
    return {
        f"{moment}.{part}.{name}": tensor
        for moment, values in (("mean", state.mean), ("square", state.square))
        for name, pair in values.items()
        for part, tensor in zip("AB", pair, strict=True)
    }


def _load_optimizer(path: Path) -> AdamState | None:
    if not path.is_file():
        return None
    with safe_open(path, framework="pt") as file:
        step = int(file.metadata()["step"])
    return adam_state(step, load_file(path))


def adam_state(step: int, tensors: Mapping[str, Tensor]) -> AdamState:
    """The optimiser's state from what :func:`moments` made of it."""
    found: dict[str, dict[str, dict[str, Tensor]]] = {"mean": {}, "square": {}}
    for key, tensor in tensors.items():
        moment, part, name = key.split(".", 2)
        found[moment].setdefault(name, {})[part] = tensor
    mean, square = ({n: (pair["A"], pair["B"]) for n, pair in sorted(found[m].items())} for m in ("mean", "square"))
    return AdamState(step, mean, square)


def resolve_targets(model: nn.Module, targets: Targets) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Which linear modules `targets` selects: (full module names in model order, suffixes).

    `targets` is a tuple of suffixes (peft's rule: a module matches when its name equals the suffix or ends in
    `.suffix`), `"all-linear"` (every linear except the output head), `"qv"` (the query and value projections, or the
    fused projection of models that have one, such as GPT-NeoX), or None (peft's default for the model type, and where
    peft has none `"qv"`).

    Raises:
        ValueError: a suffix matches no `nn.Linear`, or matches the output head.
    """
    head = _head_name(model)
    linears = [name for name, module in model.named_modules() if type(module) is nn.Linear and name != head]
    known = sorted({name.rpartition(".")[2] for name in linears})
    if targets == "all-linear":
        targets = tuple(known)
    elif targets == "qv":
        targets = _queries_and_values(known)
    elif targets is None:
        from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as defaults

        kind = str(getattr(getattr(model, "config", None), "model_type", ""))
        targets = tuple(defaults[kind]) if kind in defaults else _queries_and_values(known)
    elif isinstance(targets, str):
        targets = (targets,)
    suffixes = tuple(sorted(set(targets)))
    names = tuple(name for name in linears if any(_matches(name, suffix) for suffix in suffixes))
    for suffix in suffixes:
        if head and _matches(head, suffix):
            raise ValueError(
                f"LoRA target {suffix!r} is the output head, which cannot be adapted; use {', '.join(known)}"
            )
        if not any(_matches(name, suffix) for name in names):
            raise ValueError(f"LoRA target {suffix!r} matches no linear module; known: {', '.join(known)}")
    return names, suffixes


def _queries_and_values(known: Sequence[str]) -> tuple[str, ...]:
    return next(((name,) for name in _FUSED if name in known and "q_proj" not in known), ("q_proj", "v_proj"))


def init_lora(model: nn.Module, *, rank: int, alpha: float, targets: Targets, seed: int) -> Adapter:
    """A new adapter as peft draws it: A from Kaiming uniform with a = sqrt(5) (U(-1/sqrt(in), 1/sqrt(in))), B zero.

    A single CPU generator, seeded with `seed`, draws module by module in model order, in fp32, so that a job starts
    from the same adapter on every device, in every batch, and in the sequential reference.
    """
    names, suffixes = resolve_targets(model, targets)
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name in names:
        module = model.get_submodule(name)
        assert isinstance(module, nn.Linear)
        a = torch.empty(rank, module.in_features)
        nn.init.kaiming_uniform_(a, a=math.sqrt(5), generator=generator)
        weights[name] = (a, torch.zeros(module.out_features, rank))
    return Adapter(weights, rank, float(alpha), suffixes)


def check_fits(linears: Mapping[str, nn.Linear], adapter: Adapter) -> None:
    """Raise ValueError, naming module and shapes, if `adapter` was not made for a model with these linears."""
    for name, (a, b) in adapter.weights.items():
        module = linears.get(name)
        if module is None:
            raise ValueError(f"adapter {adapter.digest()[:12]}: the model has no linear module {name!r}")
        if (b.shape[0], a.shape[1]) != (module.out_features, module.in_features):
            raise ValueError(
                f"adapter {adapter.digest()[:12]}: module {name!r} is {module.in_features} -> {module.out_features} "
                f"in the model, {a.shape[1]} -> {b.shape[0]} in the adapter"
            )


def _matches(name: str, suffix: str) -> bool:
    return name == suffix or name.endswith("." + suffix)


def _head_name(model: nn.Module) -> str | None:
    get = getattr(model, "get_output_embeddings", None)
    head = get() if callable(get) else None
    return next((name for name, module in model.named_modules() if head is not None and module is head), None)


def stack_digest(stack: Sequence[Adapter]) -> str:
    """A key for a stack of adapters applied in order; for the empty stack (the base model) it is the empty string."""
    return "+".join(adapter.digest() for adapter in stack)
