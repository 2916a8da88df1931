"""A model whose layers lie on several devices, because it is larger than one of them.

Activations move at the borders: whatever a block is given is moved to the device of its weights. Adapters lie with the
linears that they adapt (`bank.Banks`), and keys and values with their layer. Nothing runs on two devices at once; what
is gained is room, not time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

DIVIDED = "the model is divided among several devices, where only the engine's adapters can be trained (updater lora)"
_JOINED = "_harness_joined"
"""Attribute of a model whose borders have been set up."""


def join(model: nn.Module) -> list[torch.device]:
    """Have every block's inputs moved to its device; returns the devices, the one of the last decoder layer last.

    Raises:
        ValueError: a weight is offloaded to the CPU or to disk while others are on a GPU.
    """
    devices = list(dict.fromkeys(parameter.device for parameter in model.parameters()))
    if len(devices) == 1:
        return devices
    for name, parameter in model.named_parameters():
        if parameter.device.type in ("cpu", "meta"):
            raise ValueError(
                f"{name!r} is offloaded to {parameter.device.type}; the engine needs every weight on a GPU"
            )
    if not hasattr(model, _JOINED):
        _take_hooks_off(model)
        for module, device in _blocks(model):
            module.register_forward_pre_hook(partial(_bring, device), with_kwargs=True)
        setattr(model, _JOINED, True)
    last = next(layers(model)[-1].parameters()).device
    return [*(device for device in devices if device != last), last]


def layers(model: nn.Module) -> nn.ModuleList:
    """The decoder layers.

    Raises:
        ValueError: the model has no list of them.
    """
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module)]
    if not lists:
        raise ValueError(f"{type(model).__name__} has no list of decoder layers, so it cannot be divided")
    return max(lists, key=lambda one: sum(p.numel() for p in one.parameters()))


def device_map(model: Any, devices: Sequence[str]) -> dict[str, str]:
    """Which module lies where, as transformers' ``from_pretrained(device_map=...)`` takes it.

    The layers in their order, as equally by bytes as they come; what stands before them (embeddings) on the first
    device, and what stands behind (final norm, output head) on the last. An output head that is the embeddings' own
    weight lies with them.

    Args:
        model: with its weights, or on the device ``meta``.

    Raises:
        ValueError: there are fewer layers than devices.
    """
    stack = layers(model)
    if len(stack) < len(devices):
        raise ValueError(f"{len(stack)} layers cannot be divided among {len(devices)} devices")
    head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    tied = head is not None and head.weight is embeddings.weight
    order = {module: (place, name) for place, (name, module) in enumerate(model.named_modules())}
    inner = set(stack.modules())
    leaves = [module for module in order if module not in inner and not any(True for _ in module.children())]

    def first(module: nn.Module) -> bool:
        if module is head:
            return tied
        return order[module][0] < order[stack][0] or not any(True for _ in module.parameters())

    def size(module: nn.Module) -> int:
        return 0 if tied and module is head else sum(p.numel() * p.element_size() for p in module.parameters())

    share = (sum(map(size, leaves)) + sum(map(size, stack))) / len(devices)
    at = sum(size(module) for module in leaves if first(module))
    found = {}
    for layer in stack:  # where its middle falls, if each device took an equal share
        found[order[layer][1]] = last = devices[min(int((at + size(layer) / 2) / share), len(devices) - 1)]
        at += size(layer)
    for module in leaves:
        behind = devices[-1] if module is head else last
        found[order[module][1]] = devices[0] if first(module) else behind
    return found


def _take_hooks_off(model: nn.Module) -> None:
    """Remove accelerate's hooks, which replace ``forward`` and bring the logits back to the first device."""
    if any(hasattr(module, "_hf_hook") for module in model.modules()):
        from accelerate.hooks import remove_hook_from_module

        remove_hook_from_module(model, recurse=True)


def _blocks(module: nn.Module) -> Iterator[tuple[nn.Module, torch.device]]:
    """The largest modules that lie on one device each, with it."""
    devices = {tensor.device for tensor in chain(module.parameters(), module.buffers())}
    if len(devices) == 1:
        yield module, devices.pop()
    elif devices:
        for child in module.children():
            yield from _blocks(child)


def _bring(device: torch.device, module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
    return _moved(args, device), _moved(kwargs, device)


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value if value.device == device else value.to(device)
    if type(value) in (tuple, list):
        return type(value)(_moved(one, device) for one in value)
    return {name: _moved(one, device) for name, one in value.items()} if type(value) is dict else value
