"""Many LoRA adapters in one linear layer: the frozen weight applies to all tokens, and to each its own slot's A and B.

Linears that read the same input (query, key and value; gate and up) form a group and are computed together: one product
with their stacked A, one accumulated input gradient. While a forward runs, the model's linears are routed to their
groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from .attention import IMPLEMENTATION
from .kernels import Part, add_adapters, backpropagate
from .product import pays, products

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class _GroupLinear(torch.autograd.Function):
    """`y_j = W_j x + b_j + sum over parts of scale B_j A_j x` for every linear j of a group; outputs in their order."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, anchor: Tensor, group: _GroupCall) -> tuple[Tensor, ...]:
        flat = x.reshape(-1, x.shape[-1])
        ys = group.frozen(flat)
        ctx.saved = [add_adapters(part, group.key, flat, ys) for part in group.parts]
        ctx.save_for_backward(flat if group.parts else None)
        ctx.group = group
        return tuple(y.view(*x.shape[:-1], -1) for y in ys.values())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None]:
        (flat,) = ctx.saved_tensors
        group: _GroupCall = ctx.group
        gys = {name: g.reshape(-1, g.shape[-1]) for name, g in zip(group.modules, grads, strict=True)}
        gx: Tensor | None = None
        if ctx.needs_input_grad[0]:
            for name, module in group.modules.items():
                (back,) = products(gys[name], [(module.weight.t(), None)])
                gx = back if gx is None else gx.add_(back)
        for part, saved in zip(group.parts, ctx.saved, strict=True):
            backpropagate(part, group.key, flat, saved, gys, gx)
        return None if gx is None else gx.view(*grads[0].shape[:-1], -1), None, None


class Wanted:
    """The packed tokens of a forward whose outputs are still needed: all (None), or those at `index`.

    After the last layer's attention no token depends on another, so tokens whose logits are not needed are skipped.
    """

    def __init__(self) -> None:
        self.index: Tensor | None = None
        self._parts: dict[int, Part] = {}

    def narrow(self, index: Tensor, pairs: Iterable[tuple[Part, Part]]) -> None:
        """Restrict the forward to the tokens at `index`; `pairs` maps each part to itself on those tokens."""
        self.index = index
        self._parts = {id(part): narrowed for part, narrowed in pairs}

    def part(self, part: Part) -> Part:
        """The part, restricted to the tokens that are needed."""
        return part if self.index is None else self._parts[id(part)]

    def widen(self) -> None:
        """Return to all tokens."""
        self.index = None
        self._parts.clear()


class _GroupCall:
    """One forward's computation of a group: whichever member is called first computes all of them."""

    def __init__(
        self, key: int, modules: dict[str, nn.Linear], parts: list[Part], anchor: Tensor | None, wanted: Wanted
    ) -> None:
        self.key, self.modules, self.parts, self._anchor, self._wanted = key, modules, parts, anchor, wanted
        self._input: Tensor | None = None
        self._outputs: dict[str, Tensor] = {}

    def __call__(self, name: str, x: Tensor) -> Tensor:
        if self._input is not x or name not in self._outputs:
            self._input = x
            self._outputs = dict(zip(self.modules, self._compute(x), strict=True))
        output = self._outputs.pop(name)
        if not self._outputs:
            self._input = None
        return output

    def frozen(self, flat: Tensor) -> dict[str, Tensor]:
        """The linears' outputs `[n, out]` without adapters, for inputs `[n, in]`."""
        linears = [(module.weight, module.bias) for module in self.modules.values()]
        return dict(zip(self.modules, products(flat, linears), strict=True))

    def _compute(self, x: Tensor) -> tuple[Tensor, ...]:
        if self._anchor is not None and (self.parts or x.requires_grad):
            apply: Any = _GroupLinear.apply
            outputs: tuple[Tensor, ...] = apply(x, self._anchor, self)
            return outputs
        flat = x.reshape(-1, x.shape[-1])
        index = self._wanted.index
        some = flat if index is None else flat.index_select(0, index)
        ys = self.frozen(some)
        for part in self.parts:
            add_adapters(self._wanted.part(part), self.key, some, ys)
        if index is not None:
            ys = {name: y.new_zeros(len(flat), y.shape[1]).index_copy_(0, index, y) for name, y in ys.items()}
        return tuple(y.view(*x.shape[:-1], -1) for y in ys.values())


Routes = list[tuple[nn.Linear, Callable[[Tensor], Tensor]]]
"""Linears, each with the function that replaces its forward."""


class Parts:
    """The adapters that a forward adds to the linears. Decoding uses the same at every step, so the routes are
    cached."""

    def __init__(self, *parts: Part) -> None:
        self.all = parts
        self._routes: tuple[Tensor | None, Routes] | None = None

    def __add__(self, other: Parts) -> Parts:
        return Parts(*self.all, *other.all)

    def routes(self, linears: Linears, anchor: Tensor | None, wanted: Wanted) -> Routes:
        """Routes for the adapted linears, and for the frozen ones where `products` is faster than `nn.Linear`.

        In training, `anchor` is a scalar that requires grad: the first layer's inputs do not, and autograd would skip
        it.
        """
        if self._routes is None or self._routes[0] is not anchor:
            self._routes = (anchor, list(self._made(linears, anchor, wanted)))
        return self._routes[1]

    def _made(
        self, linears: Linears, anchor: Tensor | None, wanted: Wanted
    ) -> Iterator[tuple[nn.Linear, Callable[[Tensor], Tensor]]]:
        for key, group in enumerate(linears.groups):
            mine = [part for part in self.all if part.bank.members(key)]
            adapted = {name for part in mine for name in part.bank.members(key)}
            some = {name: module for name, module in group.items() if name in adapted or _gains(module)}
            call = _GroupCall(key, some, mine, anchor, wanted)
            yield from ((module, partial(call, name)) for name, module in some.items())
        head = linears.head
        if head is not None and _gains(head):
            yield head, partial(_GroupCall(-1, {"head": head}, [], anchor, Wanted()), "head")


def _gains(module: nn.Linear) -> bool:
    """Whether to route an unadapted linear too, for speed; never one whose own weight is trained (`full.py`)."""
    return not module.weight.requires_grad and pays(module.weight.device, module.weight.dtype)


@contextmanager
def routed(model: PreTrainedModel, replaced: Routes) -> Iterator[None]:
    """Within the block, the model's linears are `replaced` and its attention is packed; on exit both are restored."""
    config: Any = model.config
    before = config._attn_implementation
    try:
        config._attn_implementation = IMPLEMENTATION
        for module, forward in replaced:
            module.__dict__["forward"] = forward  # a plain assignment, without nn.Module's slow __setattr__
        yield
    finally:
        for module, _ in replaced:
            module.__dict__.pop("forward", None)
        config._attn_implementation = before


class Linears(NamedTuple):
    """A model's linears, in groups that read the same input tensor, in call order; and its output head, if linear.

    The head is computed at selected positions only, so it cannot be adapted.
    """

    groups: list[dict[str, nn.Linear]]
    head: nn.Linear | None


def linears_by_input(model: PreTrainedModel, linears: Mapping[str, nn.Linear]) -> Linears:
    """Found by observing one forward of two tokens, so it works for any architecture; uncalled linears are left out."""
    calls: list[tuple[Tensor, str]] = []
    handles = [
        module.register_forward_pre_hook(lambda _, args, name=name: calls.append((args[0], name)))
        for name, module in linears.items()
    ]
    try:
        with torch.no_grad():
            model(input_ids=torch.zeros(1, 2, dtype=torch.long, device=model.device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    head: Any = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    groups: list[dict[str, nn.Linear]] = []
    last: Tensor | None = None
    for x, name in calls:
        if linears[name] is head:
            continue
        if x is last:
            groups[-1][name] = linears[name]
        else:
            groups.append({name: linears[name]})
        last = x
    return Linears(groups, head if type(head) is nn.Linear else None)
