"""The updater ``generated``: no gradient step; the generator writes the adapter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from harness.api import EditFailed, Example, Session, State, Updated, UpdateJob, Updater
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness_generative_adapter.generator import Generator


@dataclass(frozen=True)
class GeneratedSettings:
    """Which generator is used, and how several texts become one change."""

    generator: str = ""
    """Folder of a generator (``harness adapter train``), or ``package:folder``."""
    regime: Literal["concatenated", "summed", "sequential"] = "concatenated"
    """``concatenated``: all texts of an update as one; ``summed``: each read by itself, memories added;
    ``sequential``: each read by the model as changed by the texts before it, memories added."""


class Generated(Updater):
    """Reads the texts of an update's edits with the frozen model; the generator turns them into a weight change.

    A text that is longer than the model's context fails its update. The change is stored as an ordinary LoRA adapter.
    """

    Settings: ClassVar[type[GeneratedSettings]] = GeneratedSettings
    accepts = frozenset({Example})

    def __init__(self, settings: GeneratedSettings) -> None:
        if not settings.generator:
            raise UsageError("updater 'generated': name the generator, such as updater.generator = \"./my-generator\"")
        self._settings = settings

    @cached_property
    def meta_s(self) -> float:  # type: ignore[override]  # needs torch, so it is computed on demand
        """Seconds that the generator's one-off training took, if known."""
        from harness_generative_adapter.generator import Generator

        return Generator.cost(folder_of(self._settings.generator))

    def apply(self, jobs: Sequence[UpdateJob], s: Session, /) -> Iterator[Updated]:
        """One adapter per job. Raises :class:`UsageError` for a generator that was trained for another model."""
        from harness_generative_adapter.generator import Generator

        generator = Generator.load(folder_of(self._settings.generator))
        starts: list[State] = []
        for job in jobs:
            if job.start not in starts:
                starts.append(job.start)
        for start in starts:
            if generator.config.base and generator.config.base != start.base:
                raise UsageError(
                    f"the generator {self._settings.generator} was trained for the model {generator.config.base[:12]}, "
                    f"not for {start.base[:12]}; `harness adapter train` makes one for it"
                )
            texts: dict[str, list[str]] = {}
            for job in (job for job in jobs if job.start == start):
                try:
                    texts[job.id] = [
                        str(item.prompt) + item.target for item in s.expand(job) if isinstance(item, Example)
                    ]
                except EditFailed as why:
                    yield Updated(job.id, None, "failed", str(why))
            with s.borrow(start) as (module, tokenizer):
                made = {name: self._read(generator, module, tokenizer, mine) for name, mine in texts.items()}
            for name, (adapter, log) in made.items():
                if isinstance(adapter, str):
                    yield Updated(name, None, "failed", adapter)
                    continue
                tensors = {
                    f"{site}.lora_{x}.weight": w
                    for site, ab in adapter.weights.items()
                    for x, w in zip("AB", ab, strict=True)
                }
                config = {"rank": adapter.rank, "alpha": adapter.alpha, "targets": list(adapter.targets)}
                state = replace(start, adapters=(*start.adapters, s.store(tensors, config)))
                yield Updated(name, state, log=log)

    def _read(
        self, generator: Generator, module: Any, tokenizer: Any, texts: Sequence[str]
    ) -> tuple[Any, dict[str, Any]]:
        """The adapter for the texts, or the reason why there is none; and the update's log."""
        import torch

        if self._settings.regime == "concatenated":
            texts = ["\n\n".join(texts)]
        rows = [tokenizer(text)["input_ids"] for text in texts if text.strip()]
        limit = int(getattr(module.config, "max_position_embeddings", 2**31))
        long = max(map(len, rows), default=0)
        if not rows or long > limit:
            return ("nothing to read" if not rows else f"context length {long} > {limit}"), {}
        device = next(module.parameters()).device
        generator = generator.to(device)
        total: dict[str, torch.Tensor] = {}
        with torch.no_grad():
            for row in rows:
                ids = torch.tensor([row], device=device)
                mask = torch.ones_like(ids)
                if total and self._settings.regime == "sequential":
                    with generator.applied(module, generator.normalised(total)):
                        mine = generator.encode(module, ids, mask)
                else:
                    mine = generator.encode(module, ids, mask)
                total = {name: memory + total.get(name, 0) for name, memory in mine.items()}
            return generator.adapter(total), {"steps": 0, "tokens": sum(map(len, rows)), "texts": len(rows)}


def folder_of(source: str) -> Path:
    """A folder on disk, or one inside a package (``package:folder``).

    Raises:
        UsageError: there is no such package.
    """
    package, sign, inside = source.partition(":")
    if sign and package.isidentifier() and len(package) > 1:
        try:
            return Path(str(files(package).joinpath(inside)))
        except ModuleNotFoundError:
            raise UsageError(f"updater.generator = {source!r}: there is no package {package!r}") from None
    return Path(source).expanduser()
