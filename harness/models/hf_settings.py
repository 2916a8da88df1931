"""The settings of the backend ``hf``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from harness.api import JSON


@dataclass(frozen=True)
class HfSettings:
    """Which model, and how it is held."""

    path: str = ""
    """A folder, or a name on the Hugging Face hub."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    trust_remote_code: bool = False
    """Whether Python files that come with the model may be run."""
    device: str = "auto"
    """``auto`` (CUDA where there is any), ``cpu``, ``cuda``, ``cuda:1``, ..."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """``auto`` is float32 on the CPU and bfloat16 on CUDA."""
    chat: bool | Literal["auto"] = "auto"
    """Whether tasks ask in turns. ``auto``: if the model stops where its chat template ends a turn."""
    thinking: bool = False
    """Whether templates that can open a thinking block do so."""
    today: str = "2024-07-26"
    """The day that chat templates which write a date get to see; pinned, so that a prompt does not change overnight."""
    threads: int = 0
    """CPU threads of this process; 0 is one for models under 100M parameters and torch's own choice above."""
    memory: JSON = field(default_factory=dict)
    """The engine's batch limits (``slots``, ``tokens``, ``rows``, ``cache_tokens``); empty: found from what is free."""
