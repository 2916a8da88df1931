"""Temporarily merging adapters into a model's own weights, and checking that the weights are restored exactly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from harness.books.artefacts import FullWeights
from harness.engine import Adapter
from harness.errors import PluginError

_CHUNK = 1 << 22
_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@contextmanager
def merged(module: nn.Module, stack: Sequence[Adapter], full: FullWeights | None = None) -> Iterator[nn.Module]:
    """The module with ``full`` (if any) in place of its weights, and the adapters of ``stack`` added to them.

    Products are summed in fp32 and rounded once to the weights' dtype. On exit every weight that was changed here is
    restored, bit for bit, whatever happened inside.

    Raises:
        PluginError: full weights that the module does not have, or of another shape.
    """
    parameters = dict(module.named_parameters())
    originals: dict[str, Tensor] = {}

    def write(name: str, value: Tensor) -> None:
        if name not in originals:
            originals[name] = parameters[name].detach().clone()
        parameters[name].data.copy_(value)

    try:
        if full is not None:
            _check_fits(parameters, full)
            for name, tensor in full.tensors.items():
                write(name, tensor)
        for name, delta in _deltas(module, stack):
            write(name, parameters[name].detach().float() + delta)
        yield module
    finally:
        for name, value in originals.items():
            parameters[name].data.copy_(value)


def load_weights(module: nn.Module, full: FullWeights) -> dict[str, Tensor]:
    """A copy of full weights with the device, dtype and layout of the module's parameters.

    Raises:
        PluginError: weights that the module does not have, or of another shape.
    """
    parameters = dict(module.named_parameters())
    _check_fits(parameters, full)
    return {name: torch.empty_like(parameters[name]).copy_(tensor) for name, tensor in full.tensors.items()}


def _check_fits(parameters: Mapping[str, Tensor], full: FullWeights) -> None:
    for name, tensor in full.tensors.items():
        mine = parameters.get(name)
        if mine is None or mine.shape != tensor.shape:
            has = "no such weight" if mine is None else f"shape {list(mine.shape)} there"
            raise PluginError(
                f"full weights {full.digest()[:12]}: {name!r} has shape {list(tensor.shape)}, but the model has {has}"
            )


@contextmanager
def replaced(module: nn.Module, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """The module with other weights in place of its own, without copying. Nothing inside may change the weights.

    Args:
        tensors: the weights, from :func:`load_weights`.
    """
    parameters = dict(module.named_parameters())
    own = {name: parameters[name].data for name in tensors}
    try:
        for name, tensor in tensors.items():
            parameters[name].data = tensor
        yield
    finally:
        for name, tensor in own.items():
            parameters[name].data = tensor


def _deltas(module: nn.Module, stack: Sequence[Adapter]) -> Iterator[tuple[str, Tensor]]:
    """Yields (weight name, sum over the stack of scale * B A), in fp32 on the module's device."""
    for target in sorted({name for adapter in stack for name in adapter.weights}):
        device = next(module.get_submodule(target).parameters()).device
        total: Tensor | None = None
        for adapter in stack:
            if target in adapter.weights:
                a, b = (tensor.to(device) for tensor in adapter.weights[target])
                delta = adapter.scale * (b @ a)
                total = delta if total is None else total + delta
        assert total is not None
        yield f"{target}.weight", total


@contextmanager
def lent(module: nn.Module) -> Iterator[nn.Module]:
    """Lend a module, which must come back unchanged.

    Gradients are dropped, training mode and ``requires_grad`` are restored; weights and structure are compared.

    Raises:
        PluginError: the borrower changed weights or left modules behind; the module must not be used any more.
    """
    before = checksums(module)
    grads = {name: parameter.requires_grad for name, parameter in module.named_parameters()}
    training = module.training
    try:
        yield module
    finally:
        module.train(training)
        for name, parameter in module.named_parameters():
            parameter.grad = None
            parameter.requires_grad_(grads.get(name, False))
    after = checksums(module)
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if changed:
        raise PluginError(
            f"a borrowed model came back with {len(changed)} changed weights ({changed[0]}, ...); train an adapter on "
            "it and remove it again, or use the updater full"
        )


@torch.no_grad()
def checksums(module: nn.Module) -> dict[str, tuple[int, int]]:
    """Two sums over the bits of every parameter and buffer: one plain, one weighted by position. Runs on the device.

    Integer sums wrap exactly, so equal weights have equal sums in any order of summation; a change of a single bit
    changes the first sum, an exchange of two values the second.
    """
    sums = {}
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        bits = tensor.detach().contiguous().reshape(-1)
        bits = bits.view(_BITS[bits.element_size()])
        plain = weighted = 0
        for start in range(0, bits.numel(), _CHUNK):
            part = bits[start : start + _CHUNK].long()
            place = torch.arange(start + 1, start + 1 + part.numel(), device=part.device)
            plain += int(part.sum())
            weighted += int((part * place).sum())
        sums[name] = (plain, weighted)
    return sums
