"""The settings of the backend ``hf``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from harness.api import JSON


@dataclass(frozen=True)
class HfSettings:
    """Which model is loaded, and how."""

    path: str = ""
    """A folder, or a name on the Hugging Face hub."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    trust_remote_code: bool = False
    """Whether Python code that comes with the model may be executed."""
    device: str = "auto"
    """``auto`` (CUDA where available), ``cpu``, ``cuda``, ``cuda:1``, ..."""
    device_map: str = field(default="", metadata={"added_later": True})
    """For a model larger than one GPU: ``auto`` divides its layers among all GPUs, ``cuda:0,1`` among these."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """``auto`` is float32 on the CPU and bfloat16 on CUDA."""
    chat: bool | Literal["auto"] = "auto"
    """Whether prompts are conversations. ``auto``: yes if the model stops where its chat template ends a turn."""
    thinking: bool = False
    """Whether chat templates that can open a thinking block do so."""
    today: str = "2024-07-26"
    """The date given to chat templates that write one; fixed, so that prompts do not change from day to day."""
    threads: int = 0
    """CPU threads of this process; 0 means one for models under 100M parameters, and torch's own choice above."""
    memory: JSON = field(default_factory=dict)
    """The engine's batch limits (``slots``, ``tokens``, ``rows``, ``cache_tokens``); empty: set from the free
    memory."""
