"""The frozen base model, and the only place where the engine runs a forward pass on it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from contextlib import AbstractContextManager
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from .adapter import Adapter, check_fits
from .attention import Attend
from .bank import Bank, adapted_groups
from .dropout import Thinned, thinning
from .kernels import Part, Segments, choose_kernel
from .linear import Parts, Wanted, linears_by_input, routed


class FrozenModel:
    """A Hugging Face causal LM whose weights never change: eval mode, no gradients, patched only during a forward."""

    def __init__(self, model: PreTrainedModel) -> None:
        _refuse_unsupported(model)
        self.model = model.requires_grad_(False)
        self.model.train(False)
        weight = next(model.parameters())
        self.device, self.dtype = weight.device, weight.dtype
        uses_window = getattr(model.config, "use_sliding_window", True)
        self.window: int | None = getattr(model.config, "sliding_window", None) if uses_window else None
        self._linears = {name: m for name, m in model.named_modules() if type(m) is nn.Linear}
        self._by_input = linears_by_input(model, self._linears)
        self.groups = self._by_input.groups
        self._reached = {name for linears in self.groups for name in linears}
        self._anchor: Tensor | None = None
        self._wanted = Wanted()
        indices = [getattr(module, "layer_idx", None) for module in model.modules()]
        self._last_layer = max((index for index in indices if isinstance(index, int)), default=-1)

    def segments(self, counts: Sequence[int], *, grad: bool = False) -> Segments:
        """Segments for slots with `counts[k]` tokens each, with the fastest kernel for the device and the sizes."""
        ends, at = [], 0
        for count in counts:
            at += count
            ends.append(at)
        return Segments(ends, choose_kernel(self.device, counts, grad), self.device)

    def check(self, adapter: Adapter) -> None:
        """Raise ValueError, naming the module, unless the engine can apply all of `adapter` to this model."""
        check_fits(self._linears, adapter)
        for name in adapter.weights:
            if name not in self._reached:
                raise ValueError(f"adapter {adapter.digest()[:12]} adapts {name!r}, which the engine cannot adapt")

    def bank(self, stacks: Sequence[Sequence[Adapter]]) -> Bank | None:
        """A bank without gradients whose slot k holds the stack `stacks[k]`; None when every stack is empty."""
        adapters = [adapter for stack in stacks for adapter in stack]
        if not adapters:
            return None
        for adapter in adapters:
            self.check(adapter)
        groups = adapted_groups(self.groups, [name for adapter in adapters for name in adapter.weights])
        rank = max(sum(adapter.rank for adapter in stack) for stack in stacks)
        bank = Bank(len(stacks), groups, rank, device=self.device, dtype=self.dtype)
        for slot, stack in enumerate(stacks):
            if stack:
                bank.put(slot, stack)
        return bank

    def parts(self, bank: Bank | None, counts: Sequence[int], *, grad: bool = False) -> Parts:
        """The argument `parts` of a forward in which slot k of the bank has `counts[k]` tokens; empty without a
        bank."""
        return Parts() if bank is None else Parts(Part(bank, self.segments(counts, grad=grad)))

    def thinned(self, networks: Sequence[Thinned | None], lengths: Sequence[int]) -> AbstractContextManager[None]:
        """Forwards within the block read text i, of `lengths[i]` packed tokens, with its own thinned network."""
        return thinning(self.groups, networks, lengths)

    def logits(
        self,
        ids: Sequence[int],
        positions: Sequence[int],
        attend: Attend,
        parts: Parts,
        keep: Sequence[int],
        *,
        grad: bool = False,
    ) -> Tensor:
        """Logits `[len(keep), vocab]` at the ascending packed indices `keep`. With `grad`, `backward()` on them fills
        the gradients of the banks.

        The model is free for another forward on return: the backward pass needs only the banks and the frozen weights,
        which must not change before it.
        """
        index = self._tensor(keep)
        if not grad and len(keep) < len(ids) and parts.all:
            attend = self._narrowing(attend, parts, list(keep), index)
        output = self._run(ids, positions, attend, parts, grad, logits_to_keep=index)
        logits = output.logits[0]
        assert isinstance(logits, Tensor)
        return logits

    def hidden(
        self,
        ids: Sequence[int],
        positions: Sequence[int],
        attend: Attend,
        parts: Parts,
        layer: int,
    ) -> Tensor:
        """Hidden states `[N, hidden]` after one layer (0: the embeddings, -1: after the final norm)."""
        keep = self._tensor([0])
        output = self._run(ids, positions, attend, parts, False, logits_to_keep=keep, output_hidden_states=True)
        states = output.hidden_states[layer][0]
        assert isinstance(states, Tensor)
        return states

    def _narrowing(self, attend: Attend, parts: Parts, keep: list[int], index: Tensor) -> Attend:
        """The same attention, except that after the last layer only the tokens at `keep` are computed."""

        def narrowed(part: Part) -> Part:
            ends = [bisect_left(keep, end) for end in part.segments.ends]
            return Part(part.bank, self.segments([end - start for start, end in pairwise([0, *ends])]))

        def attended(layer: int, q: Tensor, k: Tensor, v: Tensor, scale: float | None, window: int | None) -> Tensor:
            out = attend(layer, q, k, v, scale, window)
            if layer == self._last_layer:
                self._wanted.narrow(index, [(part, narrowed(part)) for part in parts.all])
            return out

        return attended

    def _run(
        self,
        ids: Sequence[int],
        positions: Sequence[int],
        attend: Attend,
        parts: Parts,
        grad: bool,
        **options: Any,
    ) -> Any:
        if grad and self._anchor is None:
            self._anchor = torch.zeros((), device=self.device, requires_grad=True)
        anchor = self._anchor if grad else None
        with routed(self.model, parts.routes(self._by_input, anchor, self._wanted)), torch.set_grad_enabled(grad):
            try:
                return self.model(
                    input_ids=self._tensor(ids)[None],
                    position_ids=self._tensor(positions)[None],
                    use_cache=False,
                    packed=attend,
                    **options,
                )
            finally:
                self._wanted.widen()

    def _tensor(self, values: Sequence[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=self.device)


def _per_token(module: nn.Module) -> bool:
    """Whether it is part of a mixture of experts, as transformers builds them: every token is routed and transformed by
    itself. Adapters do not reach its weights."""
    return type(module).__name__.endswith(("Experts", "Router"))


def _refuse_unsupported(model: PreTrainedModel) -> None:
    """Raise ValueError for a model that cannot be packed exactly: tokens may interact in attention only, so every
    weight matrix must belong to a linear or an embedding."""
    if not isinstance(model, PreTrainedModel):
        raise ValueError(f"the engine takes a transformers causal LM, got {type(model).__name__}")
    if model.get_output_embeddings() is None:  # type: ignore[no-untyped-call]
        raise ValueError(f"{type(model).__name__} has no output head; the engine takes causal LMs")
    for name, module in model.named_modules():
        if type(module) is nn.Linear or isinstance(module, nn.Embedding) or _per_token(module):
            continue
        if any(p.dim() >= 2 for p in module.parameters(recurse=False)):
            raise ValueError(
                f"{type(model).__name__} cannot be used by the engine: {name!r} is a {type(module).__name__}, and only "
                "plain nn.Linear and nn.Embedding weights are supported (Llama, Qwen, Mistral, GPT-NeoX, Phi ...)"
            )
    if getattr(model.config, "attn_logit_softcapping", None) is not None:
        raise ValueError(
            f"{type(model).__name__} cannot be used by the engine: it caps the logits of its attention "
            "(attn_logit_softcapping), which packed attention cannot compute"
        )
    if len({p.device for p in model.parameters()}) != 1:
        raise ValueError(
            f"{type(model).__name__} is spread over several devices; the engine needs a model on one device"
        )
