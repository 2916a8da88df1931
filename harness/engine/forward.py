"""The frozen base model, and the only place where the engine runs a forward pass on it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from contextlib import AbstractContextManager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .adapter import Adapter, check_fits
from .attention import Attend, How, PackedAttention, register
from .bank import Banks, adapted_groups
from .dropout import Thinned, thinning
from .kernels import Part, Segments, choose_kernel
from .linear import Parts, Wanted, linears_by_input, routed
from .split import join

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class FrozenModel:
    """A Hugging Face causal LM whose weights never change: eval mode, no gradients, patched only during a forward."""

    def __init__(self, model: PreTrainedModel) -> None:
        register()
        as_linears(model)
        _refuse_unsupported(model)
        self.model = model.requires_grad_(False)
        self.model.train(False)
        weight = next(model.parameters())
        self.device, self.dtype = weight.device, weight.dtype
        self.devices = join(model)
        uses_window = getattr(model.config, "use_sliding_window", True)
        self.window: int | None = getattr(model.config, "sliding_window", None) if uses_window else None
        self._linears = {name: m for name, m in model.named_modules() if type(m) is nn.Linear}
        self._by_input = linears_by_input(model, self._linears)
        self.groups = self._by_input.groups
        self.places = {key: next(iter(members.values())).weight.device for key, members in enumerate(self.groups)}
        self._reached = {name for linears in self.groups for name in linears}
        self._anchor: Tensor | None = None
        self._wanted = Wanted()
        indices = [getattr(module, "layer_idx", None) for module in model.modules()]
        self._last_layer = max((index for index in indices if isinstance(index, int)), default=-1)
        self._refuse_inexact()

    def segments(self, counts: Sequence[int], *, grad: bool = False, device: torch.device | None = None) -> Segments:
        """Segments for slots with `counts[k]` tokens each, with the fastest kernel for the device and the sizes."""
        device = device or self.device
        ends, at = [], 0
        for count in counts:
            at += count
            ends.append(at)
        return Segments(ends, choose_kernel(device, counts, grad), device)

    def check(self, adapter: Adapter) -> None:
        """Raise ValueError, naming the module, unless the engine can apply all of `adapter` to this model."""
        check_fits(self._linears, adapter)
        for name in adapter.weights:
            if name not in self._reached:
                raise ValueError(f"adapter {adapter.digest()[:12]} adapts {name!r}, which the engine cannot adapt")

    def bank(self, stacks: Sequence[Sequence[Adapter]]) -> Banks | None:
        """Banks without gradients whose slot k holds the stack `stacks[k]`; None when every stack is empty."""
        adapters = [adapter for stack in stacks for adapter in stack]
        if not adapters:
            return None
        for adapter in adapters:
            self.check(adapter)
        groups = adapted_groups(self.groups, [name for adapter in adapters for name in adapter.weights])
        rank = max(sum(adapter.rank for adapter in stack) for stack in stacks)
        banks = Banks(len(stacks), groups, rank, places=self.places, dtype=self.dtype)
        for slot, stack in enumerate(stacks):
            if stack:
                banks.put(slot, stack)
        return banks

    def parts(self, banks: Banks | None, counts: Sequence[int], *, grad: bool = False) -> Parts:
        """The argument `parts` of a forward in which slot k of the banks has `counts[k]` tokens, and none where there
        is no count; empty without banks."""
        every = banks.each if banks is not None else ()
        counts = [*counts, *[0] * (banks.slots - len(counts))] if banks is not None else counts
        return Parts(*(Part(bank, self.segments(counts, grad=grad, device=bank.device)) for bank in every))

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
        index = self._tensor(keep).to(self.devices[-1])
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
        keep = self._tensor([0]).to(self.devices[-1])
        output = self._run(ids, positions, attend, parts, False, logits_to_keep=keep, output_hidden_states=True)
        states = output.hidden_states[layer][0]
        assert isinstance(states, Tensor)
        return states

    def _narrowing(self, attend: Attend, parts: Parts, keep: list[int], index: Tensor) -> Attend:
        """The same attention, except that after the last layer only the tokens at `keep` are computed."""

        def narrowed(part: Part) -> Part:
            ends = [bisect_left(keep, end) for end in part.segments.ends]
            counts = [end - start for start, end in pairwise([0, *ends])]
            return Part(part.bank, self.segments(counts, device=part.bank.device))

        def attended(layer: int, q: Tensor, k: Tensor, v: Tensor, how: How) -> Tensor:
            out = attend(layer, q, k, v, how)
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

    @torch.no_grad()
    def _refuse_inexact(self) -> None:
        """Raise ValueError unless two packed texts get the logits that the model gives them alone.

        Some architectures add to attention what the engine does not see (BLOOM's biases), or do not tell their
        attention how tokens are packed (StableLM).
        """
        texts = [[1, 2, 3, 1, 4], [5, 6, 5]]
        ids = [one % self.model.config.vocab_size for text in texts for one in text]
        places = [place for text in texts for place in range(len(text))]
        config: Any = self.model.config
        before = config._attn_implementation
        name = type(self.model).__name__
        try:
            packed = self.logits(ids, places, PackedAttention([5, 3], device=self.device), Parts(), range(len(ids)))
            config._attn_implementation = "eager"  # the others leave out what they cannot compute, such as a cap
            alone = [self.model(input_ids=self._tensor(one)[None], use_cache=False) for one in (ids[:5], ids[5:])]
        except (RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"{name} cannot be run by the engine, which packs texts: {error}") from error
        finally:
            config._attn_implementation = before
        wanted = torch.cat([one.logits[0] for one in alone]).float().log_softmax(-1)
        apart = (packed.float().log_softmax(-1) - wanted).abs().mean().item()
        if not apart <= (1e-3 if self.dtype == torch.float32 else 0.2):
            raise ValueError(
                f"{name} cannot be run by the engine: texts that are packed together change each other (log-"
                f"probabilities differ by {apart:.2g} on average)"
            )


def as_linears(model: nn.Module) -> None:
    """Replace every `Conv1D` of a model (GPT-2's linears, whose weights are transposed) by the `nn.Linear` that it is.

    Such a linear has the attribute `transposed`; `plain_weights` undoes it in what is written to disk.
    """
    for name, module in list(model.named_modules()):
        if type(module).__name__ != "Conv1D":
            continue
        weight: Any = module.weight
        linear = nn.Linear(weight.shape[0], weight.shape[1], device="meta")
        linear.weight = nn.Parameter(weight.detach().t().contiguous(), requires_grad=False)
        linear.bias = module.bias
        linear.transposed = True  # type: ignore[assignment]
        model.set_submodule(name, linear)


def plain_weights(model: nn.Module) -> dict[str, Tensor]:
    """A model's weights in its architecture's own form, for `save_pretrained(state_dict=...)`."""
    turned = {f"{name}.weight" for name, module in model.named_modules() if hasattr(module, "transposed")}
    return {name: tensor.t().contiguous() if name in turned else tensor for name, tensor in model.state_dict().items()}


def _per_token(module: nn.Module) -> bool:
    """Whether it is part of a mixture of experts, as transformers builds them: every token is routed and transformed by
    itself. Adapters do not reach its weights."""
    return type(module).__name__.endswith(("Experts", "Router"))


def _refuse_unsupported(model: PreTrainedModel) -> None:
    """Raise ValueError for a model that cannot be packed exactly: tokens may interact in attention only, so every
    weight matrix must belong to a linear or an embedding."""
    from transformers import PreTrainedModel

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
