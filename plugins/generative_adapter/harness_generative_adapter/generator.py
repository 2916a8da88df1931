"""The generator: for each adapted linear layer, an outer-product memory of a text becomes a low-rank weight change.

For a layer with input ``x`` inside a decoder layer whose input hidden states on the text are ``H`` (tokens x width)::

    S  = (A2 norm(H))^T (A3 norm(H))            memory [keys, values]; memories of several texts are summed
    S~ = normalise(S)                           singular values to 1, or Frobenius norm to sqrt(rank)
    y += scale * B S~^T A1 x

``B`` starts at zero, so an untrained generator changes nothing. Everything here is in fp32, whatever the model's dtype.
Source: arXiv 2411.05877, section 3, from the paper's description; the released code has no licence and was not used.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from harness.engine import Adapter
from harness.errors import UsageError
from harness_generative_adapter.normalise import Form, factors, normalised

Memories = Mapping[str, Tensor]
"""Module name -> [texts, keys, values]."""

_CONFIG, _WEIGHTS, RECORD = "generator.json", "generator.safetensors", "training.json"
_READING = frozenset({"q_proj", "k_proj", "v_proj"})
"""Projections whose input is the normalised hidden state that enters the decoder layer."""


@dataclass(frozen=True)
class GeneratorConfig:
    """The form of a generator. The defaults are the paper's."""

    targets: tuple[str, ...] = ("o_proj",)
    """Suffixes of the adapted linear layers."""
    layers: tuple[int, ...] = ()
    """Which decoder layers, from 0; empty means all. The later the first one, the cheaper the training."""
    keys: int = 1024
    values: int = 1024
    rank: int = 128
    """How many singular directions ``svd`` keeps."""
    scale: float = 1 / 16
    normalise: Form = "svd"
    base: str = ""
    """Digest of the frozen model that the generator was trained for."""


@dataclass(frozen=True)
class Site:
    """An adapted linear layer."""

    name: str
    layer: int
    """Index of its decoder layer, from 0."""
    inputs: int
    outputs: int


class Cell(nn.Module):
    """The learnt maps of one site."""

    def __init__(self, site: Site, width: int, config: GeneratorConfig) -> None:
        super().__init__()
        self.reads_hidden = site.name.rpartition(".")[2] in _READING and site.inputs == width
        self.norm = nn.Parameter(torch.ones(width))
        self.a1 = nn.Linear(site.inputs, config.keys, bias=False)
        self.a2 = nn.Linear(width, config.keys, bias=False)
        self.a3 = nn.Linear(width, config.values, bias=False)
        self.b = nn.Linear(config.values, site.outputs, bias=False)
        nn.init.zeros_(self.b.weight)

    def memory(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """The memory [texts, keys, values] of hidden states [texts, tokens, width]; ``mask`` is [texts, tokens]."""
        hidden = hidden.float()
        hidden = self.norm * hidden * torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + 1e-6)
        keys = self.a2(hidden) * mask.unsqueeze(-1)
        return torch.einsum("ntk,ntv->nkv", keys, self.a3(hidden))


class Generator(nn.Module):
    """All cells of one model. Initial weights are drawn from ``seed`` alone."""

    def __init__(self, sites: Sequence[Site], width: int, config: GeneratorConfig, seed: int = 0) -> None:
        super().__init__()
        self.config, self.sites, self.width = config, tuple(sites), width
        self.cells = nn.ModuleList(Cell(site, width, config) for site in sites)
        generator = torch.Generator().manual_seed(seed)
        for cell in self.cells:
            assert isinstance(cell, Cell)
            for name in ("a1", "a2", "a3"):
                weight = getattr(cell, name).weight
                nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator)
            if cell.reads_hidden:
                # The layer's input is the state that the memory is keyed by, so equal maps match a token with itself.
                cell.a1.weight.data.copy_(cell.a2.weight.data)

    @classmethod
    def fresh(cls, module: nn.Module, config: GeneratorConfig, seed: int = 0) -> Generator:
        """An untrained generator for a causal LM.

        Raises:
            UsageError: no decoder layers, or no linear layer of that name in them.
        """
        sites = [
            site for site in find_sites(module, config.targets) if not config.layers or site.layer in config.layers
        ]
        if not sites:
            raise UsageError(f"generator.layers: the model has no decoder layer {list(config.layers)}")
        return cls(sites, _width(module), config, seed)

    def named_cells(self) -> Iterator[tuple[Site, Cell]]:
        for site, cell in zip(self.sites, self.cells, strict=True):
            assert isinstance(cell, Cell)
            yield site, cell

    def encode(self, module: nn.Module, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """The memories of texts (ids and mask [texts, tokens]) in one forward pass of the frozen model."""
        with torch.no_grad(), _watched(module, {site.layer for site in self.sites}) as seen:
            module(input_ids=ids, attention_mask=mask, use_cache=False)
        return {site.name: cell.memory(seen[site.layer], mask.float()) for site, cell in self.named_cells()}

    def normalised(self, memories: Memories) -> dict[str, Tensor]:
        """Memories with normalised singular values or norm; an all-zero memory stays zero."""
        form, rank = self.config.normalise, self.config.rank
        return {name: normalised(memory, form, rank) for name, memory in memories.items()}

    @contextmanager
    def applied(self, module: nn.Module, normal: Memories, rows: Tensor | None = None) -> Iterator[None]:
        """The model with every sequence of a batch changed by its own memory.

        Args:
            rows: which of the memories each sequence uses; by default they are parallel.
        """
        handles = []
        for site, cell in self.named_cells():
            memory = normal[site.name] if rows is None else normal[site.name][rows]
            handles.append(
                module.get_submodule(site.name).register_forward_hook(_adding(cell, memory, self.config.scale))
            )
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @torch.no_grad()
    def adapter(self, memories: Memories) -> Adapter:
        """The change from one text's memories (``[1, keys, values]`` each) as a LoRA adapter with the same effect."""
        weights: dict[str, tuple[Tensor, Tensor]] = {}
        for site, cell in self.named_cells():
            left, right = factors(memories[site.name], self.config.normalise, self.config.rank)
            a, b = left[0].T @ cell.a1.weight, cell.b.weight @ right[0].T
            weights[site.name] = (a.float().cpu().contiguous(), b.float().cpu().contiguous())
        rank = next(iter(weights.values()))[0].shape[0]
        return Adapter(weights, rank, self.config.scale * rank, self.config.targets)

    def save(self, folder: Path) -> None:
        """Write configuration and weights (as 16-bit floats, which work as well and take half the space)."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file({name: tensor.half().contiguous() for name, tensor in self.state_dict().items()}, folder / _WEIGHTS)
        written = {"config": asdict(self.config), "width": self.width, "sites": [asdict(site) for site in self.sites]}
        (folder / _CONFIG).write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Generator:
        """Read what :meth:`save` wrote.

        Raises:
            UsageError: there is no generator in that folder.
        """
        try:
            written = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
            tensors = load_file(folder / _WEIGHTS)
        except FileNotFoundError as why:
            raise UsageError(
                f"no generator at {folder}: {Path(str(why.filename)).name} is missing; "
                "`harness adapter train` makes one"
            ) from None
        lists = {name: tuple(written["config"][name]) for name in ("targets", "layers")}
        config = GeneratorConfig(**{**written["config"], **lists})
        made = cls([Site(**site) for site in written["sites"]], written["width"], config)
        made.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
        return made.eval()

    @staticmethod
    def cost(folder: Path) -> float:
        """Seconds that the training of this folder's generator took; 0 if there is no record."""
        record = folder / RECORD
        return float(json.loads(record.read_text(encoding="utf-8"))["seconds"]) if record.exists() else 0.0


def find_sites(module: nn.Module, targets: Sequence[str]) -> list[Site]:
    """The linear layers with one of these suffixes, in the order of the decoder layers.

    Raises:
        UsageError: there are none.
    """
    prefix, layers = decoder_layers(module)
    sites = []
    for index, layer in enumerate(layers):
        for name, inner in layer.named_modules():
            if isinstance(inner, nn.Linear) and any(name == t or name.endswith(f".{t}") for t in targets):
                sites.append(Site(f"{prefix}.{index}.{name}", index, inner.in_features, inner.out_features))
    missing = [t for t in targets if not any(site.name.endswith(f".{t}") for site in sites)]
    if missing:
        known = sorted({n.rpartition(".")[2] for n, m in layers[0].named_modules() if isinstance(m, nn.Linear)})
        raise UsageError(f"generator target {missing[0]!r} matches no linear layer; there are {', '.join(known)}")
    return sites


def decoder_layers(module: nn.Module) -> tuple[str, nn.ModuleList]:
    """Name and list of a causal LM's decoder layers: its longest list of modules."""
    lists = [(name, inner) for name, inner in module.named_modules() if isinstance(inner, nn.ModuleList)]
    if not lists:
        raise UsageError("this model has no list of decoder layers, so a generator cannot be attached to it")
    return max(lists, key=lambda pair: len(pair[1]))


def _width(module: nn.Module) -> int:
    return int(module.get_input_embeddings().weight.shape[1])  # type: ignore[operator]


def _adding(cell: Cell, memory: Tensor, scale: float) -> Any:
    def hook(inner: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        read = torch.einsum("ntk,nkv->ntv", cell.a1(inputs[0].float()), memory)
        added: Tensor = output + (scale * cell.b(read)).to(output.dtype)
        return added

    return hook


@contextmanager
def _watched(module: nn.Module, layers: set[int]) -> Iterator[dict[int, Tensor]]:
    """Records the hidden states that enter the decoder layers during forward passes."""
    seen: dict[int, Tensor] = {}

    def watch(index: int) -> Any:
        def hook(inner: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            seen[index] = args[0] if args else kwargs["hidden_states"]

        return hook

    _, found = decoder_layers(module)
    handles = [found[index].register_forward_pre_hook(watch(index), with_kwargs=True) for index in sorted(layers)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
