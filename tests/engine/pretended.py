"""GPUs that are not there: tensors compute on the CPU, say that they are on `cuda:0`, and refuse what CUDA refuses.

Tensors that are made for a device, moved to it, or computed from such tensors are on it: their storage is known. An
operation between one of them and a tensor of the CPU or of another GPU raises, as CUDA does, save for copies and single
numbers of the CPU. Every value that comes to the host is counted, with the line of the engine that asked for it.
"""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

DEVICE = torch.device("cuda", 0)
_PULLS = {
    Tensor.tolist, Tensor.item, Tensor.__bool__, Tensor.__int__, Tensor.__float__, Tensor.__index__, Tensor.numpy,
}  # fmt: skip
_ANYWHERE = {"aten::copy_", "aten::_to_copy", "aten::index", "aten::index_put_"}  # CUDA takes indices of the CPU


class Pretended:
    """The devices, while it is entered."""

    def __init__(self) -> None:
        self.pulled: Counter[str] = Counter()
        """`file:function` of the engine -> how often a value came to the host there."""
        self.moved: Counter[tuple[str, str]] = Counter()
        """(from, to) -> how often a tensor went from one GPU to another; in the backward pass too."""
        self._there: dict[int, tuple[StorageWeakRef, torch.device]] = {}
        self._modes = ExitStack()

    def __enter__(self) -> Pretended:
        self._modes.enter_context(_Dispatch(self))
        self._modes.enter_context(_Function(self))
        return self

    def __exit__(self, *error: object) -> None:
        self._modes.close()

    def move(self, model: nn.Module, device: torch.device = DEVICE) -> nn.Module:
        """Put a model on a device."""
        for tensor in (*model.parameters(), *model.buffers()):
            self.put(tensor, device)
        return model

    def put(self, tensor: Tensor, device: torch.device) -> Tensor:
        storage = tensor.untyped_storage()
        self._there[storage._cdata] = (StorageWeakRef(storage), device)
        return tensor

    def has(self, tensor: Tensor) -> torch.device | None:
        """The GPU that a tensor is on."""
        found = self._there.get(tensor.untyped_storage()._cdata)
        return found and found[1]


class _Function(TorchFunctionMode):
    """What Python code sees: devices of tensors, factories, moves, and values that come to the host."""

    def __init__(self, device: Pretended) -> None:
        super().__init__()
        self._device = device

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, device = dict(kwargs or {}), self._device
        if func == Tensor.device.__get__:
            return device.has(args[0]) or func(*args)
        if func == Tensor.is_cuda.__get__:
            return device.has(args[0]) is not None
        if func in _PULLS and device.has(args[0]):
            device.pulled[_line()] += 1
        moves = func in (Tensor.to, Tensor.cpu)
        asked = kwargs.get("device", next((a for a in args[1:] if isinstance(a, str | torch.device)), None))
        if func is Tensor.cpu:
            asked = "cpu"
        if asked is None or not (moves or "device" in kwargs):
            return func(*args, **kwargs)
        asked = torch.device(asked)
        there = torch.device("cuda", asked.index or 0) if asked.type == "cuda" else None
        before = device.has(args[0]) if moves else None
        if before and there and before != there:
            moved: Tensor = _Moved.apply(args[0], device, before, there)  # type: ignore[no-untyped-call]
            return moved
        args = [torch.device("cpu") if isinstance(a, str | torch.device) else a for a in args]
        if "device" in kwargs:
            kwargs["device"] = torch.device("cpu")
        out = func(*args, **kwargs)
        if moves and there != before:
            if not there:
                device.pulled[_line()] += 1
            out = _without(out.detach()).requires_grad_(out.requires_grad)
            device._there.pop(out.untyped_storage()._cdata, None)
        return device.put(out, there) if there else out


class _Moved(torch.autograd.Function):
    """From one GPU to another, and the gradient back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, device: Pretended, before: torch.device, there: torch.device) -> Tensor:
        ctx.saved = device, there, before
        device.moved[str(before), str(there)] += 1
        return device.put(x.clone(), there)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        device, before, there = ctx.saved
        device.moved[str(before), str(there)] += 1
        return device.put(grad.clone(), there), None, None, None


class _Dispatch(TorchDispatchMode):
    """Every operation, in the backward pass too: where its operands lie, and where its results do."""

    def __init__(self, device: Pretended) -> None:
        super().__init__()
        self._device = device

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        operands = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        there = {found for one in operands if (found := self._device.has(one))}
        here = [one for one in operands if not self._device.has(one) and one.dim()]
        if len(there) > 1 and func._schema.name != "aten::copy_":
            names = " and ".join(sorted(map(str, there)))
            raise RuntimeError(f"{func}: expected all tensors on one device, found {names}, in {_line()}")
        if there and here and func._schema.name not in _ANYWHERE:
            [gpu] = there
            raise RuntimeError(f"{func}: expected all tensors on one device, found {gpu} and cpu, in {_line()}")
        out = func(*args, **(kwargs or {}))
        into_one = func._schema.name == "aten::copy_"
        for one in tree_leaves(out):
            if isinstance(one, Tensor) and there and not into_one:
                self._device.put(one, *there)
        return out


def _without(tensor: Tensor) -> Tensor:
    """A copy that lies nowhere in particular yet."""
    return torch.frombuffer(bytearray(tensor.contiguous().view(torch.uint8).numpy().tobytes()), dtype=torch.uint8).view(
        tensor.dtype
    ).reshape(tensor.shape)  # fmt: skip


def _line() -> str:
    frame = sys._getframe(2)
    while frame.f_back is not None and "/harness/engine/" not in frame.f_code.co_filename:
        frame = frame.f_back
    return f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_code.co_name}"
