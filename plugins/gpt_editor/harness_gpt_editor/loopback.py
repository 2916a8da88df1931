"""The model backend ``loopback``: a local model behind a real OpenAI-compatible endpoint on this machine.

Everything that a remote editor involves (HTTP, pacing, retries, usage) happens here too, with no network and no key.
"""

from __future__ import annotations

import contextlib
import weakref
from dataclasses import dataclass
from typing import Any, ClassVar

from harness.api import Quote, WeightSource
from harness.models.hf import HfModel
from harness.models.hf_settings import HfSettings
from harness.models.openai import OpenAIModel, OpenAISettings
from harness.registry.discover import Plugins
from harness.testing.server import serve


@dataclass(frozen=True)
class LoopbackSettings:
    """Which model is served, and how it is asked."""

    path: str = "lab"
    """A model's name (``lab``), or a folder or hub id."""
    concurrency: int = 4
    """The most calls in flight at once."""
    input_price: float = 0.0
    """US dollars per million tokens, for the run's ledger."""
    output_price: float = 0.0
    """The same for the tokens of completions."""
    max_cost: float = 0.0
    """The most US dollars that this model may cost in a run; 0 for no limit."""


class LoopbackModel(OpenAIModel):
    """A teacher that can only be asked over HTTP; the endpoint lives as long as the model object."""

    Settings: ClassVar[type] = LoopbackSettings
    local: ClassVar[bool] = True

    def __init__(self, settings: LoopbackSettings, weights: WeightSource) -> None:
        served = _local(settings.path, weights)
        open_ones = contextlib.ExitStack()
        server = open_ones.enter_context(serve(served))
        weakref.finalize(self, open_ones.close)
        super().__init__(
            OpenAISettings(
                path=settings.path,
                base_url=server.url,
                key_env="",
                api="chat" if "chat" in served.can else "completions",
                schema="none",
                concurrency=settings.concurrency,
                input_price=settings.input_price,
                output_price=settings.output_price,
                max_cost=settings.max_cost,
            )
        )
        # The port differs from run to run, and the answers do not depend on it.
        self.base = f"loopback:{served.base}"
        self.name = f"loopback:{settings.path}"
        self.identity = {"name": self.name, "served": dict(served.identity)}

    @classmethod
    def quote(cls, settings: Any, /) -> Quote:
        """What it can do and costs; nothing is served for the answer."""
        base = f"loopback:{settings.path}"
        return Quote(base, frozenset({"generate"}), settings.input_price, settings.output_price)


def _local(path: str, weights: WeightSource) -> HfModel:
    if "/" in path:
        return HfModel(HfSettings(path=path), weights)
    cls: Any = Plugins().component("model", path).cls
    model: HfModel = cls(cls.Settings(), weights)
    return model
